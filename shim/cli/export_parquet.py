"""Writes the rows of an export as Parquet, by the embedded ClickHouse, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Rows and bytes of a row group, which the writer holds in memory.
MAX_GROUP_ROWS: Final = 200_000
_MAX_GROUP_BYTES: Final = 32 << 20
_COLUMNS: Final = (
    "name String, type String, value Nullable(Float64), timestamp DateTime('UTC'), tags String,"
    " count Nullable(Float64), sum Nullable(Float64), buckets String"
)
#: By default ClickHouse reads and writes several blocks side by side, and has groups of a million rows.
_SETTINGS: Final[Mapping[str, int | str]] = {
    "max_threads": 1,
    "max_block_size": 20_000,
    "storage_file_read_method": "pread",  # pages of a mapped file count as memory
    "input_format_parallel_parsing": 0,
    "output_format_parallel_formatting": 0,
    "output_format_parquet_parallel_encoding": 0,
    "output_format_parquet_row_group_size": MAX_GROUP_ROWS,
    "output_format_parquet_row_group_size_bytes": _MAX_GROUP_BYTES,
}


class ExportError(Exception):
    """The export cannot start: the command line, the file or its state are wrong."""


def to_parquet(rows: Path, file: Path) -> None:
    """Write the CSV file as Parquet. Raises ExportError, OSError."""
    try:
        import chdb
    except ModuleNotFoundError:
        raise ExportError(
            "parquet: chdb is not installed; try: pip install 'meterhouse[all]', or --format csv"
        ) from None
    settings = ", ".join(f"{name} = {value!r}" for name, value in _SETTINGS.items())
    file.unlink(missing_ok=True)
    try:
        chdb.query(  # type: ignore[no-untyped-call]
            f"SELECT * FROM file('{_quoted(rows)}', 'CSVWithNames', '{_quoted(_COLUMNS)}')"
            f" INTO OUTFILE '{_quoted(file)}' FORMAT Parquet SETTINGS {settings}"
        )
    except RuntimeError as e:  # a full disk
        file.unlink(missing_ok=True)
        raise OSError(f"{file}: not written: {str(e)[:200]}") from None


def _quoted(text: object) -> str:
    return str(text).replace("\\", "\\\\").replace("'", "\\'")
