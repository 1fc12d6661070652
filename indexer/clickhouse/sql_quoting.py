"""Names and texts inside ClickHouse's SQL. Pure."""

from __future__ import annotations


def quote_name(name: str) -> str:
    """Quote a database, table or column name."""
    return _quoted(name, "`")


def quote_text(text: str) -> str:
    """Quote a string literal."""
    return _quoted(text, "'")


def _quoted(text: str, mark: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
    return f"{mark}{escaped}{mark}"
