"""The parts of a DSN: chdb:///path (embedded) or http(s)://user:password@host:port/database. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from agent.config.secrets import masked_url

DEFAULT_DATABASE: Final = "meterhouse"


class DsnError(ValueError):
    """An unusable DSN; the text hides its password."""


class Dsn(NamedTuple):
    """The target of clients, the database, and whether it is embedded."""

    address: str
    database: str
    embedded: bool


def parse_dsn(dsn: str) -> Dsn:
    """Return the parts of a DSN. Raises DsnError."""
    try:
        parts = urlsplit(dsn)
    except ValueError:  # its text may show the password
        raise DsnError("the DSN is not a URL: expected http(s)://user:password@host:port/database") from None
    if parts.scheme == "chdb":
        path = unquote(parts.netloc + parts.path)
        if path.startswith("/./"):
            path = path[1:]
        options = parse_qs(parts.query)
        database = options.pop("database", [DEFAULT_DATABASE])[0]
        if not path or path == "/" or options:
            raise DsnError(f"not a chdb DSN with a path: {masked_url(dsn)}")
        return Dsn(path, database, embedded=True)
    if parts.scheme in ("http", "https") and parts.hostname:
        database = unquote(parts.path.strip("/")) or DEFAULT_DATABASE
        return Dsn(urlunsplit(parts._replace(path="")), database, embedded=False)
    raise DsnError("dsn: expected chdb:///, http:// or https://")


def data_path(dsn: str) -> Path | None:
    """Return the path of an embedded store; None for a server. Raises DsnError."""
    parts = parse_dsn(dsn)
    return Path(parts.address) if parts.embedded else None
