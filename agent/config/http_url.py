"""Splits URLs of settings. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_http_url(text: str) -> SplitResult | None:
    """Return the parts of an http or https URL; None without a host, or with an impossible port."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
