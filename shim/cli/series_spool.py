"""Gathers points that come by time, and returns them series by series, in bounded memory.

Answers hold all series of a short time; OpenMetrics wants each series whole. Points are kept in memory up to
a bound, then in temporary files by a hash of the labels, of which one is read in turn.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

#: Files that the points are spread over: a billion points are two million in each.
_PARTS: Final = 512
#: Bytes of points in memory.
_MAX_BYTES: Final = 16 << 20

Series = Mapping[str, Any]


class SeriesSpool:
    """The points of one metric. `folder` is empty, and is its own."""

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._held: dict[int, list[bytes]] = {}
        self._bytes = 0
        self._written: set[int] = set()

    def add(self, answer: Sequence[Series]) -> None:
        """Add the series of an answer of the API; of histograms count and sum. Raises OSError."""
        for one in answer:
            labels = json.dumps(sorted((k, v) for k, v in one["metric"].items() if k != "__name__"))
            histograms = [[t, {"count": h["count"], "sum": h["sum"]}] for t, h in one.get("histograms", ())]
            line = f"{labels}\t{json.dumps([list(one.get('values', ())), histograms])}\n".encode()
            self._held.setdefault(zlib.crc32(labels.encode()) % _PARTS, []).append(line)
            self._bytes += len(line)
        if self._bytes > self._max_bytes:
            self._flush()

    def series(self) -> Iterator[list[Series]]:
        """Yield all series in parts, each whole and its points in the order they came. Raises OSError."""
        for part in sorted(self._written | self._held.keys()):
            lines = self._held.pop(part, [])
            if part in self._written:
                with self._path(part).open("rb") as file:
                    lines = [*file, *lines]
                self._path(part).unlink()
            yield _whole(lines)

    def _flush(self) -> None:
        for part, lines in self._held.items():
            with self._path(part).open("ab") as file:
                file.writelines(lines)
        self._written |= self._held.keys()
        self._held, self._bytes = {}, 0

    def _path(self, part: int) -> Path:
        return self._folder / f"{part}.points"


def _whole(lines: Sequence[bytes]) -> list[Series]:
    """Return the series of the lines of a part, each once, by their labels."""
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for line in lines:
        labels, _, points = line.decode().partition("\t")
        values, histograms = json.loads(points)
        of_labels = found.setdefault(labels, ([], []))
        of_labels[0].extend(values)
        of_labels[1].extend(histograms)
    return [
        {"metric": dict(json.loads(labels)), "values": values, "histograms": histograms}
        for labels, (values, histograms) in sorted(found.items())
    ]
