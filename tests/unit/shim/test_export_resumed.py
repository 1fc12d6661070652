"""`meterhouse export`: its state at an interruption, at every request, against a file in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shim.cli.client import AskError
from shim.cli.export import Exporter, ExportJob, ExportState, state_path
from shim.cli.export_parquet import ExportError
from shim.cli.export_rows import CsvRows

BUCKETS = 12
JOB = ExportJob("m", "csv", 10, 0, BUCKETS * 10)


class _Answered(Exporter):
    """An exporter of a counter that came in every third bucket; ends after `requests`."""

    def __init__(self, file: Path, job: ExportJob, requests: int = 10**9) -> None:
        path = state_path(file)
        state = (
            msgspec.json.decode(path.read_bytes(), type=ExportState) if path.exists() else ExportState(job)
        )
        super().__init__("", {}, file, state, lambda _: None, max_chars=1)
        self._left = requests

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:  # noqa: ARG002 - the same for all
        self._left -= 1
        if self._left < 0:
            raise OSError("interrupted")
        return {"m": [{"type": "counter"}]} if path.endswith("metadata") else ["m"]

    def _ask_series(self, parameters: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], int]]:
        self._left -= 1
        if self._left < 0:
            raise OSError("interrupted")
        ends = range(int(parameters["start"]), int(parameters["end"]) + 1, 10)
        yield {"metric": {}, "values": [[at, str(int(at % 30 == 0))] for at in ends]}, 10 * len(ends)


@pytest.mark.parametrize("form", ["csv", "openmetrics"])
@pytest.mark.parametrize("requests", range(3, 16))
def test_each_row_is_there_once(tmp_path: Path, form: str, requests: int) -> None:
    job = msgspec.structs.replace(JOB, format=form)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rows = _Answered(whole, job).run()
    for more in (requests, 5, 4):  # empty buckets first, then one with a row
        if parts.exists():
            assert state_path(parts).exists()  # else the command refuses to go on
        try:
            _Answered(parts, job, more).run()
        except OSError:
            with parts.open("ab") as out:
                out.write(b"a line that the kernel had, and the state had not\n" * 3)
        else:
            break
    else:
        assert _Answered(parts, job).run() == rows
    assert parts.read_bytes() == whole.read_bytes()


class _TwoTypes(_Answered):
    """Its metric is a counter and a gauge."""

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        found = super()._ask(path, parameters)
        if path.endswith("metadata"):
            return {"m": [{"type": "counter"}, {"type": "gauge"}, {"type": "counter"}]}
        return found

    def _ask_series(self, parameters: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], int]]:
        query = parameters["query"]
        assert ('__type__="gauge"' in query) == query.startswith("last_over_time")
        assert ('__type__="counter"' in query) == query.startswith("increase")
        return super()._ask_series(parameters)


@pytest.mark.parametrize("requests", range(3, 30, 4))
def test_a_metric_is_exported_by_each_of_its_types(tmp_path: Path, requests: int) -> None:
    file = tmp_path / "x"
    with pytest.raises(OSError, match="interrupted"):
        _TwoTypes(file, JOB, requests).run()
    assert _TwoTypes(file, JOB).run() == BUCKETS // 3 + BUCKETS
    kinds = [line.split(",")[1] for line in file.read_text().splitlines()[1:]]
    assert kinds == ["counter"] * (BUCKETS // 3) + ["gauge"] * BUCKETS
    om = tmp_path / "om"
    _TwoTypes(om, msgspec.structs.replace(JOB, format="openmetrics")).run()
    heads = [line for line in om.read_text().splitlines() if line.startswith("#")]
    assert heads == ["# TYPE m counter", "# TYPE m_gauge gauge", "# EOF"]


def test_a_file_that_is_shorter_than_its_state_tells_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    with pytest.raises(OSError, match="interrupted"):
        _Answered(file, JOB, 6).run()
    file.write_bytes(b"")
    with pytest.raises(ExportError, match="expected the"):
        _Answered(file, JOB).run()


def test_parquet_that_was_not_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, file = msgspec.structs.replace(JOB, format="parquet"), tmp_path / "x.parquet"

    def full(_: str) -> None:
        file.write_bytes(b"PA")
        raise RuntimeError("Code: 243. No space left on device")

    monkeypatch.setattr("chdb.query", full)
    with pytest.raises(OSError, match="not written: Code: 243"):
        _Answered(file, job).run()
    assert not file.exists()
    monkeypatch.setattr("chdb.query", lambda _: file.write_bytes(b"PAR1"))
    assert _Answered(file, job).run() == BUCKETS // 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


class _Large(_Answered):
    """Its answers have `series` series of a value in each step; the API refuses more than 3 steps."""

    series = 30
    asked = 0

    def _ask_series(self, parameters: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], int]]:
        self.asked += 1
        ends = range(int(parameters["start"]), int(parameters["end"]) + 1, 10)
        if len(ends) > 3:
            raise AskError("execution: query processing would load too many samples into memory: 9")
        for n in range(self.series):
            yield {"metric": {"n": str(n)}, "values": [[at, str(n + 1)] for at in ends]}, 40


@pytest.mark.parametrize("form", ["csv", "openmetrics"])
@pytest.mark.parametrize("max_chars", [100, 2000, 10**6])
def test_an_answer_that_is_too_large_is_asked_for_in_parts(
    tmp_path: Path, form: str, max_chars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shim.cli.export._MAX_ROWS", 10)
    held = []

    class Counted(CsvRows):
        def take(self) -> list[bytearray]:
            held.append(self.count)
            return super().take()

    monkeypatch.setattr("shim.cli.export.CsvRows", Counted)
    file, job = tmp_path / "x", msgspec.structs.replace(JOB, format=form)
    exporter = _Large(file, job)
    exporter._max_chars = max_chars
    rows = BUCKETS * 30 + (form == "openmetrics") * 30
    assert exporter.run() == rows
    values = [line for line in file.read_text().splitlines() if line[:2] in ("m,", "m_")]
    assert len(values) == len(set(values)) == rows
    if form == "csv":
        times = [int(line.split(",")[3]) for line in values]
        assert times == sorted(times)
        assert max(held) == (60 if max_chars == 10**6 else 10)


def test_an_error_of_one_step_ends_the_export(tmp_path: Path) -> None:
    class Refused(_Answered):
        def _ask_series(self, parameters: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], int]]:
            raise AskError(f"timeout: query timed out: {parameters['query']}")
            yield {}, 0

    with pytest.raises(AskError, match="timed out"):
        Refused(tmp_path / "x", JOB).run()
