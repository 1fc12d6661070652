"""The subcommand `meterhouse set-aside`: batches waiting in the journal, and refused frames.

It asks a running indexer over HTTP. If none runs, it opens the journal itself: a retry then takes place at
the next start.
"""

from __future__ import annotations

import argparse
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agent.cli.common import config_option, read_settings, report_error
from agent.config.host_port import format_host_port, is_every_address, parse_host_port
from agent.config.load import ConfigError
from indexer.cli.serve import IndexerFile
from indexer.clickhouse.data_lock import DataLock
from indexer.clickhouse.store import embedded_path
from indexer.settings import Settings
from indexer.write.journal import DamagedFramesError, JournalError
from indexer.write.journal_file import has_journal, journal_path, open_journal

_PATH: Final = "/v1/set-aside"
#: An attempt to write a batch may take as long as ClickHouse may be silent.
_TIMEOUT_S: Final = 90


class AsideError(Exception):
    """The command failed; the text says why."""


class NotRunningError(AsideError):
    """No indexer is listening."""


def set_aside(argv: Sequence[str]) -> int:
    """Run `meterhouse set-aside`: 0 on success, 1 on failure, 2 for wrong settings."""
    args = _parser().parse_args(argv)
    try:
        settings = read_settings(IndexerFile, args.config).indexer
    except ConfigError as e:
        return report_error("set-aside", e, 2)
    try:
        try:
            document = _asked(args, settings)
        except NotRunningError as e:
            document = _of_file(args, settings, e)
    except (AsideError, JournalError, OSError) as e:
        return report_error("set-aside", e, 1)
    print(_text(args.action, document))
    return 0 if document.get("stored", True) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse set-aside",
        description="Lists, shows, retries or drops set-aside batches: those that could not be stored while"
        " others could, which are tried again by themselves (state aside), frames that ClickHouse refused"
        " for their bytes (state ended), and those that may be stored already (state too_old). Asks the"
        " indexer of the settings; its journal where none runs.",
    )
    parser.add_argument("action", choices=("list", "show", "retry", "drop"))
    parser.add_argument("token", nargs="?", default="", help="of a batch, as `list` shows it; not for `list`")
    config_option(parser)
    parser.add_argument("--url", default="", help="of the indexer (default: that of the settings)")
    parser.add_argument("--token-file", type=Path, metavar="FILE",
                        help="holds a token with the right operator, where tokens are set")  # fmt: skip
    parser.add_argument(
        "--ca", metavar="FILE", help="CA of the indexer's certificate (default: the system's)"
    )
    return parser


def _asked(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Ask the running indexer. Raises AsideError."""
    url = args.url or _url(settings)
    if not url.startswith(("http://", "https://")):
        raise AsideError(f"--url {url}: expected http://host:port or https://host:port")
    path = _PATH if args.action == "list" else f"{_PATH}/{urllib.parse.quote(_token(args), safe='')}"
    posts = args.action in ("retry", "drop")
    request = urllib.request.Request(  # noqa: S310  # http and https only, see above
        url.rstrip("/") + path + (f"/{args.action}" if posts else ""), data=b"" if posts else None
    )
    if args.token_file is not None:
        request.add_header("Authorization", f"Bearer {args.token_file.read_text().strip()}")
    context = ssl.create_default_context(cafile=args.ca) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as response:  # noqa: S310
            document: dict[str, Any] = json.load(response)
            return document
    except urllib.error.HTTPError as e:
        raise AsideError(f"{url}: {_error(e)}") from None
    except urllib.error.URLError as e:
        if isinstance(e.reason, ConnectionRefusedError) and not args.url:
            raise NotRunningError(f"{url}: no indexer listens") from None
        raise AsideError(f"{url}: {e.reason}") from None
    except ValueError:
        raise AsideError(f"{url}: not an indexer of Meterhouse") from None


def _url(settings: Settings) -> str:
    host, port = parse_host_port(settings.listen)
    address = format_host_port("127.0.0.1" if is_every_address(host) else host, port)
    return f"{'https' if settings.tls.cert else 'http'}://{address}"


def _error(answer: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.code}"


def _token(args: argparse.Namespace) -> str:
    token: str = args.token
    if not token:
        raise AsideError(
            f"{args.action}: expected the token of a batch, as `meterhouse set-aside list` shows it"
        )
    return token


def _of_file(args: argparse.Namespace, settings: Settings, why: NotRunningError) -> dict[str, Any]:
    """Work on the journal directly while no indexer runs. Raises AsideError, JournalError."""
    if not has_journal(settings):
        raise AsideError("batching by frame keeps no batches: senders keep frames that are not stored")
    path = journal_path(settings)
    if not path.exists():
        raise AsideError(f"{why}, and there is no journal {path.name}: check indexer.dsn or --config")
    data = embedded_path(settings.dsn)
    if data is None:
        return _done(args, settings)
    try:
        with closing(DataLock(data)):
            return _done(args, settings)
    except OSError as e:
        raise AsideError(f"{why}, but {e.strerror or e}: expected its address as --url") from None


def _done(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from indexer.receive.set_aside_http import listed, shown, shown_of

    now_ms = time.time_ns() // 1_000_000
    with closing(open_journal(settings)) as journal:
        if args.action == "list":
            return listed(journal.kept(), journal.count_kept())
        token = _token(args)
        known: dict[str, Any]
        match args.action:
            case "show":
                try:
                    known = shown(journal.units(token))
                except DamagedFramesError as e:
                    known = shown_of(e)
            case "retry":
                known = {"waits": journal.wait_again(token, now_ms)}
            case _:
                known = {"dropped": journal.drop(token, now_ms)}
        if not any(known.values()):
            raise AsideError(f"no batch {token!r}: expected a token of `meterhouse set-aside list`")
        return known


def _text(action: str, document: dict[str, Any]) -> str:
    match action:
        case "list":
            return _table(document["batches"], document.get("more", 0))
        case "show":
            return json.dumps(document["frames"], indent=2, ensure_ascii=False)
        case "drop":
            return "dropped; who sends its frames again is answered 400"
    if "waits" in document:
        return "the indexer tries it when it starts"
    return "stored" if document["stored"] else f"not stored: {document['reason']}"


def _table(batches: list[dict[str, Any]], more: int) -> str:
    if not batches:
        return "nothing is set aside"
    lines = [f"{'token':<52} {'state':<7} {'frames':>7} {'bytes':>11}  since                reason"]
    for one in batches:
        since = datetime.fromtimestamp(one["since_ms"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        start = f"{one['token']:<52} {one['state']:<7} {one['frames']:>7} {one['bytes']:>11}"
        lines.append(f"{start}  {since} {one['reason']}")
    if more:
        lines.append(f"and {more:,} later ones")
    return "\n".join(lines)
