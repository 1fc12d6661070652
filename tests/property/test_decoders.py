"""No bytes of others make a decoder do more than refuse them, in bounded time and memory.

Longer: python -m tests.fuzz.decoders SECONDS
"""

# ruff: noqa: E501 (lists of short texts, many to a line)

from __future__ import annotations

import pytest

from tests.fuzz.decoders import all_decoders
from tests.fuzz.found import FOUND
from tests.fuzz.harness import Decoder, run

#: Inputs of a plain decoder: a part of a second.
INPUTS = 3_000
NAMES = (
    *("lines_python", "lines_native", "stream", "heartbeat", "metadata", "mapping", "state_file"),
    *("bundle", "bundle_answers", "spool_record"),
    *("backfill_statsd", "backfill_openmetrics", "backfill_csv", "backfill_state"),
    *("last_values_python", "last_values_native", "frame", "frame_inside", "frame_columns", "messages", "tokens"),
    *("authorization", "pages", "dsn", "journal", "promql", "snql", "mql", "form", "tenant", "settings", "environment", "hints"),
)  # fmt: skip


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    return {one.name: one for one in all_decoders(tmp_path_factory.mktemp("decoders"))}


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_raises_its_own_error_alone(decoders: dict[str, Decoder], name: str) -> None:
    decoder = decoders[name]
    report = run(decoder, "meterhouse", inputs=len(decoder.examples) + INPUTS // decoder.cost)
    assert not report.faults, "\n".join(report.faults.values())
    assert report.outcomes["taken"] > 0 or name == "form", "no example was taken"


def test_every_decoder_is_run(decoders: dict[str, Decoder]) -> None:
    assert set(NAMES) == set(decoders)
    assert set(FOUND) <= set(decoders)


def test_a_fault_is_seen() -> None:
    def fails(data: bytes) -> None:
        raise KeyError(data)

    report = run(Decoder("fails", fails, (ValueError,), [b"a"]), "seed", inputs=5)
    assert [kind.split()[0] for kind in report.faults] == ["KeyError"]
    allowed = run(Decoder("fails", fails, (LookupError,), [b"a"]), "seed", inputs=5)
    assert not allowed.faults
    assert allowed.outcomes == {"KeyError": 5}


def _fills(data: bytes) -> object:
    return bytearray(300 << 20)


def test_much_memory_is_seen() -> None:
    report = run(Decoder("large", _fills, (), [b"a"]), "seed", inputs=1)
    assert list(report.faults) == ["memory"]
