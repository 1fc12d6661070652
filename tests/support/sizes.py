"""Frames of one metric with many series, made of arrays: for tests and benchmarks of size.

Every series has the tags `i` (its number, all different), `grp` (10,000 values), `path` (30,000 values)
and `host` (seven values), each with fewer values where the series are fewer. Series `i` has the value
`i % 10 + 1` in every bucket, whatever its type: a counter of that delta, a gauge of that value, a
distribution of that number of observations of that value, a set of that number of members of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from agent.aggregate.exponential_buckets import index_of
from agent.wire.frame import Counters, Distributions, Frame, Gauges, SeriesColumns, Sets
from indexer.clickhouse.store import Store
from indexer.intern.id_store import ClickHouseIdStore
from indexer.intern.series import SeriesRegistry
from indexer.intern.string_indexer import StringIndexer
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.inserter import Inserter
from tests.support.frames import TEN_YEARS

Type = Literal["counter", "gauge", "histogram", "set"]
TYPES: Final[tuple[Type, ...]] = ("counter", "gauge", "histogram", "set")

#: Values of each tag but `i`, at most.
DISTINCT: Final = {"grp": 10_000, "path": 30_000, "host": 7}
_ALL: Final = 1 << 31
_FRAME_ROWS: Final = 50_000


def sized_frames(
    type_: Type,
    name: str,
    series: int,
    buckets: Sequence[int],
    *,
    agent: str = "sizes",
    rows: int = _FRAME_ROWS,
) -> Iterator[Frame]:
    """Frames that together give each of `series` series a row in every bucket (Unix seconds)."""
    sequence = 0
    for first in range(0, series, rows):
        numbers = np.arange(first, min(series, first + rows))
        strings, columns = _series(name, numbers)
        for bucket in buckets:
            sequence += 1
            fields: dict[str, Any] = {_FIELD[type_]: _rows(type_, numbers, bucket)}
            yield Frame(
                agent=f"{agent}-{name}", epoch=1, sequence=sequence, created_ms=0, strings=strings,
                series=columns, **fields,
            )  # fmt: skip


def fill(store: Store, frames: Iterable[Frame]) -> None:
    """Insert the frames as the indexer does."""
    inserter = Inserter(
        store, StringIndexer(ClickHouseIdStore(store)), SeriesRegistry(1_000_000), retention=TEN_YEARS
    )
    for frame in frames:
        inserter.insert(frame.identity, [AcceptedFrame(frame.identity, b"", frame)], first=True)


def value(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the value of each series in every bucket."""
    return (numbers % 10 + 1).astype("<f8")


_FIELD: Final = {"counter": "counters", "gauge": "gauges", "histogram": "distributions", "set": "sets"}


def _series(name: str, numbers: npt.NDArray[np.int64]) -> tuple[list[str], SeriesColumns]:
    tags = sorted(["i", *DISTINCT])
    strings = [name, *tags]
    columns = []
    for tag in tags:
        found, codes = np.unique(numbers % DISTINCT.get(tag, _ALL), return_inverse=True)
        columns.append(codes + len(strings))
        strings += [str(i) if tag == "i" else f"{tag}-{i}" for i in found.tolist()]
    return strings, SeriesColumns(
        np.zeros(len(numbers), "<u4").tobytes(),
        np.full(len(numbers), len(tags), "<u2").tobytes(),
        np.tile(np.arange(1, 1 + len(tags), dtype="<u4"), len(numbers)).tobytes(),
        np.stack(columns, axis=1).astype("<u4").tobytes(),
    )


def _rows(
    type_: Type, numbers: npt.NDArray[np.int64], bucket: int
) -> Counters | Gauges | Distributions | Sets:
    n = len(numbers)
    key = np.arange(n, dtype="<u4").tobytes(), np.full(n, bucket, "<u4").tobytes()
    values = value(numbers)
    plain = values.tobytes()
    ones = np.ones(n).tobytes()
    match type_:
        case "counter":
            return Counters(*key, plain)
        case "gauge":
            last_ms = np.full(n, bucket * 1000 + 5_000, "<i8").tobytes()
            return Gauges(*key, last_ms, plain, plain, plain, plain, ones)
        case "histogram":
            index = np.array([index_of(v) for v in values.tolist()], "<i4")
            return Distributions(
                *key, count=plain, sum=(values * values).tobytes(), sum_squares=(values**3).tobytes(),
                min=plain, max=plain, zero=np.zeros(n).tobytes(),
                positive_length=np.ones(n, "<u4").tobytes(), positive_index=index.tobytes(),
                positive_count=plain, negative_length=np.zeros(n, "<u4").tobytes(),
            )  # fmt: skip
        case "set":
            lengths = values.astype("<u4")
            owner = np.repeat(numbers.astype("<u8"), lengths)
            member = np.arange(len(owner), dtype="<u8") - np.repeat(
                np.cumsum(lengths, dtype="<u8") - lengths, lengths
            )
            mixed = (owner * np.uint64(16) + member + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            return Sets(*key, lengths.tobytes(), mixed.astype("<u8").tobytes())
