"""Generated parts of documents: text between two marker comments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for row in rows:
        cells = (cell.replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _markers(module: str) -> tuple[str, str]:
    return f"<!-- written by python -m {module} -->", f"<!-- end of {module} -->"


def between(file: Path, module: str) -> str:
    """Return the part of `file` between the markers of the module that writes there."""
    begin, end = _markers(module)
    _, _, rest = file.read_text().partition(begin)
    return rest.partition(end)[0].strip()


def write_between(file: Path, module: str, text: str) -> None:
    """Put `text` between the markers, which must be there."""
    begin, end = _markers(module)
    head, found, rest = file.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{file} has no markers {begin} {end}")
    file.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")
