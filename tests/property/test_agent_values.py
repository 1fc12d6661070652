"""Numbers, buckets of distributions and UTF-8 of each core, against Python itself: exhaustive at the edges.

Values go in as lines and come out as rows, so that nothing but the agent's own ways is tested.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from random import Random
from typing import Final

import pytest

from agent.aggregate.exponential_buckets import EDGES, PER_OCTAVE, index_of
from agent.core.interface import Core
from agent.protocol.line import MAX_NUMBER, Limits, number
from agent.settings import AgentSettings
from agent.wire.frame import Frame, Sender, decode, encode
from tests.support.cores.packets import decimal
from tests.support.cores.rows import CORES, counters, new_core, rows_of

T: Final = 1_700_000_000_000
BATCH: Final = 5_000
#: The share of slow cases that is done; the Python core is the definition, so a little of it will do.
SHARE: Final = {"python": 0.05, "native": 1.0}
NUMBERS: Final = 1_000_000
#: Of the largest float but one, as 64 bits.
LARGEST_BITS: Final = 0x7FEF_FFFF_FFFF_FFFE


def batches(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    it = iter(items)
    while batch := list(itertools.islice(it, BATCH)):
        yield batch


def frame_of(core: Core, lines: Iterable[bytes]) -> Frame:
    """Return the only frame of some lines."""
    core.add(b"\n".join(lines), T)
    core.flush_all(T + 1)
    frame = core.next_frame(Sender(agent="a", epoch=1), 1, T, max_rows=1 << 20, max_bytes=32 << 20)
    assert frame is not None
    assert core.next_frame(Sender(agent="a", epoch=1), 2, T, max_rows=1 << 20, max_bytes=32 << 20) is None
    return frame


def written(random: Random) -> Iterator[bytes]:
    """Numbers as text: any 64 bits in the shortest exact form and in others, plain ones, any digits."""
    while True:
        for (value,) in struct.iter_unpack("<d", random.randbytes(8 * 1_000)):
            if math.isfinite(value):
                yield repr(value).encode()
                yield f"{value:.{random.randrange(25)}e}".encode()
        for _ in range(1_000):
            value = random.uniform(-1, 1) * 10 ** random.randrange(-8, 16)
            yield f"{value:.{random.randrange(12)}f}".encode()
        for _ in range(200):
            yield decimal(random)


def halfway(random: Random) -> Iterator[bytes]:
    """Exactly between two floats, and a bit beside: the hardest to round. Hundreds of digits."""
    with localcontext(prec=1_200):
        while True:
            bits = random.choice((random.getrandbits(63), random.getrandbits(54))) % LARGEST_BITS
            low, high = struct.unpack("<dd", struct.pack("<QQ", bits, bits + 1))
            middle = (Decimal(low) + Decimal(high)) / 2
            text = f"{middle:{random.choice('fe')}}".encode()
            mantissa, e, exponent = text.partition(b"e")
            point = b"" if b"." in mantissa else b"."
            yield text
            yield mantissa + point + b"0" * random.randrange(30) + b"1" + e + exponent
            yield mantissa[: random.randrange(15, 40)] + e + exponent


def numbers_agree(agent: Core, texts: Iterable[bytes]) -> None:
    for batch in batches(texts):
        good = [float(text) for text in batch if number(text) is not None]
        # With a time a sign does not make a delta; names are the same in each batch, so that heads are known.
        frame = frame_of(agent, (b"%d:%s|g|T1700000000" % (i, text) for i, text in enumerate(batch)))
        got = memoryview(frame.gauges.last).cast("d").tolist()
        wrong = [(text, a, b) for text, a, b in zip(batch, got, good, strict=False) if bits(a) != bits(b)]
        assert not wrong
        assert len(got) == len(good)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@pytest.mark.parametrize("core", CORES)
def test_numbers_are_what_float_says(core: str) -> None:
    agent = new_core(core, AgentSettings())
    numbers_agree(agent, itertools.islice(written(Random(1)), int(NUMBERS * SHARE[core])))
    agent.close()


@pytest.mark.parametrize("core", CORES)
def test_numbers_between_two_floats(core: str) -> None:
    agent = new_core(core, AgentSettings())
    numbers_agree(agent, itertools.islice(halfway(Random(2)), int(20_000 * SHARE[core])))
    agent.close()


def edges() -> Iterator[float]:
    """Values at, just below and just above every edge of every bucket, subnormals too."""
    for exponent in range(-1074, 1024):
        for j in range(PER_OCTAVE):
            edge = math.ldexp(EDGES[j], exponent + 1)
            yield from (math.nextafter(edge, 0.0), edge, math.nextafter(edge, math.inf))
    yield MAX_NUMBER


@pytest.mark.parametrize("core", CORES)
def test_buckets_at_every_edge(core: str) -> None:
    agent = new_core(core, AgentSettings())
    step = round(1 / SHARE[core])
    values = [value for value in itertools.islice(edges(), 0, None, step) if 0.0 < value <= MAX_NUMBER]
    for batch in batches(repr(value).encode() for value in values):
        frame = frame_of(agent, (b"%d:%s:-%s|d" % (i, text, text) for i, text in enumerate(batch)))
        wanted = [index_of(float(text)) for text in batch]
        d = frame.distributions
        assert memoryview(d.positive_index).cast("i").tolist() == wanted
        assert memoryview(d.negative_index).cast("i").tolist() == wanted
        assert set(memoryview(d.positive_length).cast("I")) == {1}
    agent.close()


#: First and last of each range that matters to UTF-8 (RFC 3629), but for bytes of the grammar.
UTF8_EDGES: Final = bytes.fromhex("0041 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")


@pytest.mark.parametrize("core", CORES)
def test_utf8_at_every_edge(core: str) -> None:
    """Every sequence of up to four such bytes, as a name: taken if Python decodes it."""
    agent = new_core(core, AgentSettings(lines=Limits(control_characters=True)))
    sequences = (bytes(s) for n in range(1, 5) for s in itertools.product(UTF8_EDGES, repeat=n))
    bad = 0
    for batch in batches(itertools.islice(sequences, 0, None, round(1 / SHARE[core]))):
        frame = frame_of(agent, (text + b":1|c" for text in [b"always", *batch]))
        names = ["always", *(text.decode() for text in batch if decodes(text))]
        bad += 1 + len(batch) - len(names)
        assert [row[1] for row in rows_of(decode(encode(frame)))] == names
        assert counters(agent)["bad"] == {"invalid_utf8": bad}
    agent.close()


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
