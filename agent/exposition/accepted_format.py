"""Chooses the format of an answer from the header Accept. Pure.

Source: Prometheus' content negotiation (scrape protocols, escaping schemes of Prometheus 3.x).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from agent.wire.exposition_text import TEXT_TYPE

_PROTOBUF: Final = "application/vnd.google.protobuf"
_OPENMETRICS: Final = "application/openmetrics-text"
_TEXT: Final = "text/plain"
_FAMILY: Final = "io.prometheus.client.metricfamily"
_UTF8: Final = "allow-utf-8"
#: Formats of a header that are looked at.
_MAX_RANGES: Final = 32


class AcceptedFormat(msgspec.Struct, frozen=True):
    """A format, its content type, and whether names may be UTF-8."""

    format: Literal["text", "openmetrics", "protobuf"]
    content_type: str
    utf8: bool = False


_DEFAULT: Final = AcceptedFormat("text", TEXT_TYPE)


def accepted_format(accept: str) -> AcceptedFormat:
    """Return the format that a reader prefers; of equal ones the first; Prometheus' text if none is known."""
    best, best_quality = _DEFAULT, 0.0
    for kind, params in _ranges(accept):
        quality = _quality(params.get("q", "1"))
        if quality > best_quality and (found := _format(kind, params)) is not None:
            best, best_quality = found, quality
    return best


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether a reader takes gzip."""
    return any(kind == "gzip" and _quality(p.get("q", "1")) > 0 for kind, p in _ranges(accept_encoding))


def _format(kind: str, params: Mapping[str, str]) -> AcceptedFormat | None:
    version, utf8 = params.get("version", ""), params.get("escaping") == _UTF8
    suffix = f"; escaping={_UTF8}" if utf8 else ""
    if kind == _PROTOBUF:
        if params.get("proto", "") != _FAMILY or params.get("encoding", "") != "delimited":
            return None
        proto = "proto=io.prometheus.client.MetricFamily; encoding=delimited"
        return AcceptedFormat("protobuf", f"{_PROTOBUF}; {proto}{suffix}", utf8)
    if kind == _OPENMETRICS and version in ("", "0.0.1", "1.0.0"):
        utf8 = utf8 and version == "1.0.0"
        written = f"{_OPENMETRICS}; version={version or '1.0.0'}; charset=utf-8"
        return AcceptedFormat("openmetrics", written + suffix * utf8, utf8)
    if kind == _TEXT and version == "1.0.0":
        return AcceptedFormat("text", f"{_TEXT}; version=1.0.0; charset=utf-8{suffix}", utf8)
    if (kind == _TEXT and version in ("", "0.0.4")) or kind in ("text/*", "*/*"):
        return _DEFAULT
    return None


def _ranges(header: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the parts of a header with their parameters, all in lower case."""
    for part in header.lower().split(",")[:_MAX_RANGES]:
        kind, *params = (text.strip() for text in part.split(";"))
        pairs = (text.partition("=") for text in params)
        yield kind, {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
