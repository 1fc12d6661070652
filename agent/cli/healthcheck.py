"""The subcommand `meterhouse healthcheck`: asks the running parts of this machine whether they are ready.

For health checks of containers: it reads the same settings as the parts, and needs neither curl nor a shell.
No credential is sent, so a certificate is not checked.

Exit codes: 0 all parts are ready; 1 one is not; 2 the settings or the command line are wrong.
"""

from __future__ import annotations

import argparse
import http.client
import importlib
import ssl
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from agent.cli.common import config_option, positive, read_settings, report_error
from agent.config.host_port import format_host_port, is_every_address, parse_host_port
from agent.config.load import ConfigError
from agent.settings import AgentSettings, Tls

#: Part -> (paths: does it serve? does the process run?)
_PATHS: Final = {
    "agent": ("/readyz", "/healthz"),
    "indexer": ("/readyz", "/healthz"),
    "shim": ("/-/ready", "/-/healthy"),
}
#: Bytes of an answer that are read.
_MAX_ANSWER: Final = 4_096


def healthcheck(argv: Sequence[str], sections: Mapping[str, tuple[str, str]] | None = None) -> int:
    """Run `meterhouse healthcheck`; `sections` maps names to (module, struct) besides `[agent]`."""
    args = _parser().parse_args(argv)
    parts = list(_PATHS) if args.part == "up" else [args.part]
    try:
        addresses = [(part, *_address(_settings(part, args.config, sections or {}), part)) for part in parts]
    except ConfigError as e:
        return report_error("healthcheck", e, 2)
    failed = False
    for part, host, port, tls in addresses:
        path = _PATHS[part][args.live]
        ok, answer = _ask(host, port, path, tls, args.timeout)
        failed |= not ok
        where = f"http{'s' if tls.cert else ''}://{format_host_port(host, port)}{path}"
        state = ("runs" if args.live else "ready") if ok else f"not ready: {answer}"
        print(f"{part}: {state} ({where})", file=sys.stdout if ok else sys.stderr)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse healthcheck",
        description="Asks the parts that run with these settings whether they are ready. 0: yes; 1: no.",
    )
    config_option(parser)
    parser.add_argument("part", choices=[*_PATHS, "up"], help="the part, or `up` for all three")
    parser.add_argument("--live", action="store_true",
                        help="ask only whether the process runs, not whether it can work")  # fmt: skip
    parser.add_argument("--timeout", type=positive, default=3.0, metavar="SECONDS",
                        help="for each part (default: %(default)g)")  # fmt: skip
    return parser


def _settings(part: str, path: str | None, sections: Mapping[str, tuple[str, str]]) -> Any:
    """Return the settings of one part; those of others are not checked. Raises ConfigError."""
    cls: type[msgspec.Struct] = AgentSettings
    if part != "agent":
        module, struct = sections[part]
        cls = getattr(importlib.import_module(module), struct)
    others = [name for name in _PATHS if name != part]
    fields = [(part, cls, cls()), *((name, dict[str, Any], {}) for name in [*others, "log"])]
    file = msgspec.defstruct("File", fields, frozen=True, forbid_unknown_fields=True)
    return getattr(read_settings(file, path), part)


def _address(settings: Any, part: str) -> tuple[str, int, Tls]:
    """Return host and port to connect to, and the listener's TLS. Raises ConfigError."""
    name = "agent.ops" if part == "agent" else f"{part}.listen"
    listen, tls = (settings.ops, settings.ops_tls) if part == "agent" else (settings.listen, settings.tls)
    if not listen:
        raise ConfigError(f"{name} is off: expected host:port, so that the part can be asked")
    try:
        host, port = parse_host_port(listen, 1)
    except ValueError:
        raise ConfigError(f"{name}: {listen}: expected host:port with a port above 0") from None
    if is_every_address(host):
        host = "::1" if host == "::" else "127.0.0.1"
    return host, port, tls


def _ask(host: str, port: int, path: str, tls: Tls, timeout_s: float) -> tuple[bool, str]:
    """Return whether the answer is 200, and its first line or why there is none."""
    try:
        connection = _connection(host, port, tls, timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read(_MAX_ANSWER).decode("utf-8", "replace").strip()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as e:
        return False, getattr(e, "strerror", None) or str(e) or type(e).__name__
    return answer.status == 200, text.splitlines()[0] if text else f"HTTP {answer.status}"


def _connection(host: str, port: int, tls: Tls, timeout_s: float) -> http.client.HTTPConnection:
    """Make a connection; one that requires a client's certificate is shown the listener's own."""
    if not tls.cert:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.require_client_cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
