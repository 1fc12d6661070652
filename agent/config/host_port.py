"""Parses and formats `host:port`, `[ipv6]:port` and `:port`, the addresses of settings and options. Pure."""

from __future__ import annotations

from typing import Final

_MAX_PORT: Final = 65_535


def parse_host_port(text: str, min_port: int = 0) -> tuple[str, int]:
    """Return host (without brackets) and port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    digits = port.lstrip("0") or "0"
    if not (colon and port and port.isascii() and port.isdigit() and len(digits) <= 5):
        raise ValueError("expected host:port")
    if not min_port <= int(digits) <= _MAX_PORT:
        raise ValueError(f"expected host:port with a port from {min_port} to {_MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(digits)


def format_host_port(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_every_address(host: str) -> bool:
    """Return whether a host (without brackets) means every address of the machine."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104  # compared, not bound
