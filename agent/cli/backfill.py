"""The subcommand `meterhouse backfill`: the file, its state file, and the report for the user.

Exit codes: 0 everything was sent, now or before; 1 it ended early and can be run again; 2 the command line,
the settings or the state are wrong; 3 everything was sent except the lines or frames that the report names.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from agent.backfill.formats import FORMATS, Format, format_of
from agent.backfill.job import CHUNK_LINES, EPOCH, Job
from agent.backfill.sender import OrderedSender
from agent.backfill.state_file import Progress, ProgressError, load, save
from agent.cli.common import config_option, read_settings, report_error
from agent.cli.progress_bar import ProgressBar
from agent.cli.run import AgentFile
from agent.config.load import ConfigError
from agent.config.secrets import masked_url
from agent.forward.channel import Channel
from agent.forward.credentials import Credentials
from agent.forward.delivery import Delivery
from agent.mapping.open_mapper import open_mapper
from agent.runtime.logs import Log
from agent.settings import AgentSettings

_BLOCK_BYTES: Final = 1 << 20
FAILED_IN_PART: Final = 3


def backfill(argv: Sequence[str]) -> int:
    """Run `meterhouse backfill`: send a file of old lines."""
    args = _parser().parse_args(argv)
    try:
        settings = read_settings(AgentFile, args.config).agent
        with _opened(args.file) as file:
            return _run(settings, file, args)
    except (ConfigError, ProgressError) as e:
        return report_error("backfill", e, 2)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        return report_error("backfill", f"{args.file}: {e}: the file is damaged; a part of it was sent", 1)
    except OSError as e:
        return report_error("backfill", f"{e.filename}: {e.strerror}" if e.filename else e, 1)
    except KeyboardInterrupt:
        return report_error("backfill", "interrupted: run it again to send the rest", 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse backfill",
        description="Sends a file of old lines to the indexer. Running it again adds nothing twice.",
        epilog="Indexer, token, org, project, tags and limits are those of section [agent].",
    )
    parser.add_argument("file", metavar="FILE", help="the file, may be .gz; - for standard input")
    parser.add_argument("--format", choices=FORMATS, help="default: from the file name, else statsd")
    parser.add_argument("--state", type=Path, metavar="PATH", help="default: FILE.backfill")
    config_option(parser)
    return parser


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a file; standard input is copied to a temporary file, since its hash comes before its frames."""
    with contextlib.ExitStack() as stack:
        given: BinaryIO = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
        if name != "-" and given.seekable():
            yield given
            return
        copy = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(given, copy, _BLOCK_BYTES)
        copy.seek(0)
        yield cast("BinaryIO", copy)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _unpacked(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Decompress a file whose name ends in .gz."""
    if not name.endswith(".gz"):
        yield file
        return
    with gzip.GzipFile(fileobj=file) as packed:
        yield cast("BinaryIO", packed)


def _run(settings: AgentSettings, file: BinaryIO, args: argparse.Namespace) -> int:
    form = args.format or format_of(args.file)
    digest = _sha256(file)
    size = file.tell()
    file.seek(0)
    name = f"stdin-{digest[:16]}" if args.file == "-" else args.file
    state = args.state or Path(f"{name}.backfill")
    progress = _progress(state, digest, settings, form)
    if progress.finished:
        print(f"{args.file}: already sent, {state} says; nothing was sent again")
        print(_totals(progress))
        return 0
    save(state, progress)
    log, shown = Log(), ProgressBar(size, sys.stderr)
    credentials = Credentials(settings.forward.first, log)
    delivery = Delivery(Channel(settings.forward.first, credentials=credentials))
    job = Job(
        settings,
        form,
        progress,
        OrderedSender(settings.forward, delivery, lambda text: shown.say(f"waiting: {text}")),
        mapper=open_mapper(settings, log) if form == "statsd" else None,
        save=lambda now: save(state, now),
        named=lambda number, reason: shown.say(f"{args.file}:{number}: {reason}"),
    )
    try:
        with _unpacked(file, args.file) as lines:
            for _ in job.run(lines):
                shown.progress(file.tell(), job.lines)
    finally:
        shown.end()
        delivery.close()
    print(_report(job))
    return FAILED_IN_PART if job.bad or progress.refused_lines or progress.conflict_lines else 0


def _progress(state: Path, digest: str, settings: AgentSettings, form: Format) -> Progress:
    """Return the progress so far, a new one where there is none. Raises ProgressError for another's."""
    said = _settings_hash(settings, form)
    url = masked_url(settings.forward.first.url)
    progress = load(state)
    if progress is None:
        created_ms = time.time_ns() // 1_000_000
        return Progress(sha256=digest, created_ms=created_ms, settings=said, url=url, epoch=EPOCH)
    if progress.epoch not in CHUNK_LINES:
        raise ProgressError(f"{state}: epoch {progress.epoch}: expected {EPOCH} at most, of this version")
    whole = "settings (format, org, project, retention, tags, lines, aggregate, mapping)"
    differs = {
        "of a file with other content": progress.sha256 != digest,
        f"of other {whole}": progress.settings != said,
        f"of the indexer {progress.url}": progress.url != url,
    }
    for what, is_so in differs.items():
        if is_so:
            raise ProgressError(f"{state} is {what}: expected the same, or --state with another path")
    return progress


def _settings_hash(settings: AgentSettings, form: Format) -> str:
    """Return a hash of the settings that determine the bytes of frames."""
    mapping = Path(settings.mapping).read_bytes() if settings.mapping else b""
    parts = (
        form, settings.org_id, settings.project_id, settings.retention_days, sorted(settings.tags.items()),
        settings.lines, settings.aggregate, mapping.hex(),
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _totals(progress: Progress) -> str:
    return f"sent: {progress.lines:,} lines, {progress.rows:,} rows in {progress.frames:,} frames"


def _report(job: Job) -> str:
    """Return all that a file became, a line for each kind of loss."""
    progress = job.progress
    said = [f"read: {job.lines:,} lines", _totals(progress)]
    said += [f"skipped: {count:,} {reason}" for reason, count in sorted(job.skipped.items())]
    said += [f"bad lines: {count:,} {reason}" for reason, count in sorted(job.bad.items())]
    said += [f"left out of good lines: {count:,} {reason}" for reason, count in sorted(job.ignored.items())]
    if job.overflow_lines:
        said.append(f"of series beyond a limit, added to __overflow__: {job.overflow_lines:,} lines")
    if progress.expired_rows:
        said.append(f"older than their retention, not stored: {progress.expired_rows:,} rows")
    if progress.refused_lines:
        said.append(f"refused by the indexer (400, 413): {progress.refused_lines:,} lines")
    if progress.conflict_lines:
        said.append(
            f"answered 409, not stored now: {progress.conflict_lines:,} lines; a run with another state file"
            " sent them, or the indexer does not remember whether (docs/backfill.md)"
        )
    return "\n".join(said)
