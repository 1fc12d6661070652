"""The subcommand `meterhouse export`: writes the values of metrics into a file, by a running API.

It asks for one metric and a stretch of time in turn, and reads an answer series by series. The stretch is so
short that an answer has about MAX_CHARS at most (shim/cli/export_pace.py). Where one step has more, its rows
leave in parts, so the memory is bounded. OpenMetrics has one series after another: temporary files hold the
points of a metric. Beside the file is `FILE.export` with the place reached: run again, it goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from agent.cli.common import report_error
from agent.runtime.replace_file import replace_file
from shim.cli.client import AskError, ask, ask_series
from shim.cli.export_pace import MAX_CHARS, AnswerPace
from shim.cli.export_parquet import ExportError, to_parquet
from shim.cli.export_rows import COLUMNS, QUERIES, CsvRows, OpenMetricsRows, kind_of, selector_of
from shim.cli.options import api_options
from shim.cli.series_spool import SeriesSpool
from shim.cli.times import positive_duration_s, time_s, utc, with_negative_values

FORMATS: Final = {".csv": "csv", ".om": "openmetrics", ".openmetrics": "openmetrics", ".parquet": "parquet"}
#: Rows of one step that are in memory.
_MAX_ROWS: Final = 10_000
#: Errors of the API that fewer steps avoid.
_TOO_LARGE: Final = ("too many samples", "timeout:", "timed out")
_BUCKET_S: Final = 10


class ExportJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The asked export; times are Unix seconds, multiples of the step."""

    selector: str
    format: str
    step_s: int
    start_s: int
    end_s: int


class ExportState(msgspec.Struct, forbid_unknown_fields=True):
    """The place reached: everything before `metric` at `at_s` is in the first `size` bytes."""

    job: ExportJob
    metric: str = ""
    at_s: int = 0
    size: int = 0
    rows: int = 0


def export(argv: Sequence[str]) -> int:
    """Run `meterhouse export`; a finished export removes its state."""
    args = _parser().parse_args(with_negative_values([*argv], ("--start", "--end", "--step")))
    try:
        state = _state(args)
        exporter = Exporter(args.url, dict(args.header), args.file, state, _progress)
        rows = exporter.run()
    except ExportError as e:
        return report_error("export", e, 2)
    except (AskError, OSError) as e:
        _progress("")
        return report_error("export", f"{e}; the same command goes on from there", 1)
    _progress("")
    print(f"{args.file}: {rows} rows from {utc(state.job.start_s)} to {utc(state.job.end_s)} UTC")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse export",
        description="Writes the values of metrics into a file, by a running API. Run again after an"
        " interruption it goes on where it was.",
    )
    parser.add_argument("selector", help="the series, such as shop_requests or '{__name__=~\"shop_.*\"}'")
    parser.add_argument("file", type=Path, metavar="FILE", help="its ending says the format")
    now_s = time.time()
    moment = lambda text: time_s(text, now_s)  # noqa: E731 - for argparse, twice
    parser.add_argument("--start", type=moment, default=now_s - 86_400, metavar="TIME",
                        help="now-1d, Unix seconds or 2026-11-28T10:00:00Z (default now-1d)")  # fmt: skip
    parser.add_argument("--end", type=moment, default=now_s - 60, metavar="TIME", help="default now-1m")
    parser.add_argument("--step", type=positive_duration_s, default=10, metavar="10s",
                        help="time of one row, a multiple of 10s (default 10s)")  # fmt: skip
    parser.add_argument("--format", choices=sorted({*FORMATS.values()}), help="default: from the file's name")
    api_options(parser)
    return parser


def state_path(file: Path) -> Path:
    """Return the file of the state."""
    return file.with_name(f"{file.name}.export")


def _state(args: argparse.Namespace) -> ExportState:
    """Return the state to begin with: that of an interrupted export, or a new one. Raises ExportError."""
    form = args.format or FORMATS.get(args.file.suffix)
    if form is None:
        raise ExportError(f"{args.file}: expected an ending of {', '.join(FORMATS)}, or --format")
    step = round(args.step)
    if step != args.step or step % _BUCKET_S:
        raise ExportError(f"--step {args.step:g}s: expected a multiple of {_BUCKET_S} s")
    start, end = int(args.start // step * step), int(args.end // step * step)
    asked = ExportJob(args.selector, form, step, start, end)
    path = state_path(args.file)
    if not path.exists():
        if args.file.exists() and args.file.stat().st_size:
            raise ExportError(f"{args.file}: it exists and is not an interrupted export: expected a new name")
        if end <= start:
            raise ExportError(f"--end {utc(end)}: expected a time after --start {utc(start)}")
        return ExportState(asked)
    try:
        state = msgspec.json.decode(path.read_bytes(), type=ExportState)
    except msgspec.MsgspecError as e:
        raise ExportError(f"{path}: not the state of an export: {e}") from None
    same = msgspec.structs.replace(asked, start_s=state.job.start_s, end_s=state.job.end_s)
    if same != state.job:  # relative times have moved on: those of the state hold
        raise ExportError(
            f"{path}: it is of another export: expected its selector, step and format, or remove it"
        )
    return state


class AnswerTooLargeError(Exception):
    """An answer has more than is taken at once: fewer steps have less."""


class ExportedMetric(NamedTuple):
    """One type of a metric. `place`: its name in the state, ascending in the order of the export."""

    place: str
    name: str
    kind: str
    type: str  # empty: the only one

    @property
    def shown(self) -> str:
        """The name of its family in OpenMetrics, where a name has one type."""
        return f"{self.name}_{self.kind}" if self.type and self.place != self.name else self.name


class Exporter:
    """Writes one file. `progress` is called with a line of text before each request."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        file: Path,
        state: ExportState,
        progress: Callable[[str], None],
        max_chars: int = MAX_CHARS,
    ) -> None:
        self._max_chars = max_chars
        self._url = url
        self._headers = headers
        self._file = file
        self._state = state
        self._progress = progress

    def run(self) -> int:
        """Export the rest; return the number of rows in the file. Raises AskError, OSError, ExportError."""
        job, state = self._state.job, self._state
        form = job.format
        rows_file = self._file.with_name(f"{self._file.name}.csv") if form == "parquet" else self._file
        metrics = self._metrics()
        with rows_file.open("ab") as out:
            if out.tell() < state.size:
                raise ExportError(
                    f"{rows_file}: expected the {state.size} bytes that {state_path(self._file)} tells of"
                )
            out.truncate(state.size)
            out.seek(state.size)  # `tell` is right also before the first write
            self._save(out, state.metric, state.at_s)  # an end before the first rows can be continued, too
            if not state.size and form != "openmetrics":
                self._write(out, ",".join(COLUMNS) + "\n")
            for metric in metrics:
                if metric.place >= state.metric:
                    self._metric(out, metric)
            if form == "openmetrics":
                self._write(out, "# EOF\n")
        if form == "parquet":
            to_parquet(rows_file, self._file)
        state_path(self._file).unlink(missing_ok=True)
        if form == "parquet":
            rows_file.unlink()
        return state.rows

    def _metrics(self) -> list[ExportedMetric]:
        """Return the selected metrics in order, each type of them."""
        selected = {"match[]": self._state.job.selector, **self._times()}
        names = self._ask("/api/v1/label/__name__/values", selected)
        metadata = self._ask("/api/v1/metadata", {})
        found = []
        for name in sorted(names):
            kinds = [kind for kind in dict.fromkeys(map(kind_of, metadata.get(name, ()))) if kind]
            for number, kind in enumerate(kinds):
                place = name + "\0" * number  # after that of the type before, which is done
                found.append(ExportedMetric(place, name, kind, kind if len(kinds) > 1 else ""))
        return found

    def _metric(self, out: IO[bytes], metric: ExportedMetric) -> None:
        job, state = self._state.job, self._state
        if job.format == "openmetrics":
            self._openmetrics(out, metric)
        else:
            at = max(state.at_s, job.start_s) if state.metric == metric.place else job.start_s
            state.metric = metric.place
            self._csv(out, metric, at)
        self._save(out, metric.place + "\0", 0)

    def _csv(self, out: IO[bytes], metric: ExportedMetric, at: int) -> None:
        """Write a metric from `at` on; the file has the rows of a metric in the order of time."""
        job, state, pace = self._state.job, self._state, AnswerPace(self._max_chars)
        rows, written = CsvRows(metric.name, metric.kind, job.step_s), 0
        while at < job.end_s:
            end = min(job.end_s, at + pace.steps * job.step_s)
            try:
                for series, chars in self._answer(metric, at, end, pace):
                    if pace.is_too_large(chars):
                        raise AnswerTooLargeError
                    rows.add(series)
                    if pace.is_least and rows.count >= _MAX_ROWS:
                        written += rows.count
                        out.writelines(rows.take())
            except AnswerTooLargeError:
                pace.shrink()
                rows.take()
                continue
            state.rows, written = state.rows + written + rows.count, 0
            out.writelines(rows.take())
            self._save(out, metric.place, end)
            at = end

    def _openmetrics(self, out: IO[bytes], metric: ExportedMetric) -> None:
        """Write a metric series by series, once all its points are read: interrupted, it begins anew."""
        job, state, pace = self._state.job, self._state, AnswerPace(self._max_chars)
        rows, at = OpenMetricsRows(metric.shown, metric.kind), job.start_s
        with tempfile.TemporaryDirectory(prefix=f".{self._file.name}-", dir=self._file.parent) as folder:
            spool = SeriesSpool(Path(folder))
            while at < job.end_s:
                end = min(job.end_s, at + pace.steps * job.step_s)
                try:
                    for series, _ in self._answer(metric, at, end, pace):
                        spool.add([series])
                except AnswerTooLargeError:  # before the first series
                    pace.shrink()
                else:
                    at = end
            self._write(out, rows.head())
            for part in spool.series():
                text = rows.rows(part, job.step_s)
                self._write(out, text)
                state.rows += text.count("\n")

    def _answer(
        self, metric: ExportedMetric, start: int, end: int, pace: AnswerPace
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the series of a stretch of time as they arrive, and the characters so far.

        Raises AnswerTooLargeError where the API refuses to read so much at once, and AskError.
        """
        self._progress(f"{metric.name} {utc(start)} UTC, {self._state.rows:,} rows")
        step, chars = self._state.job.step_s, 0
        query = QUERIES[metric.kind][0].format(selector=self._selector(metric), step=step)
        asked = {"query": query, "start": str(start + step), "end": str(end), "step": str(step)}
        try:
            for series, more in self._ask_series(asked):
                chars += more
                yield series, chars
        except AskError as e:
            if chars or pace.is_least or not any(words in str(e) for words in _TOO_LARGE):
                raise
            raise AnswerTooLargeError from None
        pace.answered((end - start) // step, chars)

    def _selector(self, metric: ExportedMetric) -> str:
        return selector_of(metric.name, self._state.job.selector, metric.type)

    def _times(self) -> dict[str, str]:
        return {"start": str(self._state.job.start_s), "end": str(self._state.job.end_s)}

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        return ask(self._url, path, parameters, self._headers, method="GET")["data"]

    def _ask_series(self, parameters: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], int]]:
        return ask_series(self._url, "/api/v1/query_range", parameters, self._headers)

    @staticmethod
    def _write(out: IO[bytes], text: str) -> None:
        out.write(text.encode())

    def _save(self, out: IO[bytes], metric: str, at_s: int) -> None:
        """Note the place once all rows before it are on the disk."""
        out.flush()
        os.fsync(out.fileno())
        self._state.metric, self._state.at_s, self._state.size = metric, at_s, out.tell()
        replace_file(state_path(self._file), msgspec.json.encode(self._state))


def _progress(text: str) -> None:
    """Rewrite a line of a terminal; elsewhere show nothing."""
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
