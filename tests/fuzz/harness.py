"""Runs a decoder over made-up inputs, and reports the inputs that it fails on.

Owns the meaning of a fault: an exception that is not the decoder's own, more than a second of CPU for one
input, or memory far beyond the input's size.
"""

from __future__ import annotations

import re
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.mutate import Mutator

MAX_CPU_S: Final = 1.0
#: How far memory may rise above the highest before; far more than any input of 64 KiB needs.
MAX_RISE_BYTES: Final = 256 << 20
_VARIABLE: Final = re.compile(r"[0-9]+|'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Decoder:
    """Something that reads bytes of others, and may raise `errors` and nothing else.

    `cost`: how many times an input takes as long as one of a plain decoder, about.
    """

    name: str
    take: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    examples: Sequence[bytes]
    words: Sequence[bytes] = ()
    cost: int = 1


@dataclass(slots=True)
class Report:
    """Results of a run. `outcomes`: inputs by result; `faults`: one input of each kind."""

    inputs: int = 0
    slowest_s: float = 0.0
    slowest: bytes = b""
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, data: bytes, said: str) -> None:
        """Note a fault, unless one of its kind is noted."""
        self.faults.setdefault(kind, f"{kind}: {shown(data)}\n{said}")


def run(decoder: Decoder, seed: str, *, inputs: int = 0, seconds: float = 0.0) -> Report:
    """Try `inputs` inputs, and go on for `seconds`."""
    mutator = Mutator(f"{seed}/{decoder.name}", decoder.examples, decoder.words)
    report, seen = Report(), set[str]()
    _forget_peak()
    end = time.monotonic() + seconds
    while report.inputs < inputs or time.monotonic() < end:
        data = mutator.next()
        outcome, kind = _one(decoder, data, report)
        report.inputs += 1
        report.outcomes[kind] += 1
        if outcome not in seen:
            seen.add(outcome)
            if len(data) < 10_000:
                mutator.keep(data)
    return report


def _one(decoder: Decoder, data: bytes, report: Report) -> tuple[str, str]:
    """Try one input; return its outcome with its text, and the outcome's kind."""
    peak, began_s = _peak_bytes(), time.thread_time()
    try:
        decoder.take(data)
        outcome, kind = f"taken/{len(data).bit_length()}", "taken"
    except decoder.errors as e:
        outcome, kind = _VARIABLE.sub("#", f"{type(e).__name__}: {e}")[:60], type(e).__name__
    except Exception as e:
        outcome = kind = f"fault {type(e).__name__}"
        report.add(f"{type(e).__name__} {_place(e)}", data, "".join(traceback.format_exception(e)[-4:]))
    took_s, rise = time.thread_time() - began_s, _peak_bytes() - peak
    if took_s > report.slowest_s:
        report.slowest_s, report.slowest = took_s, data
    if took_s > MAX_CPU_S:
        report.add("time", data, f"{took_s:.1f} s of CPU")
    if rise > MAX_RISE_BYTES:
        report.add("memory", data, f"{rise >> 20} MiB")
    return outcome, kind


def _place(error: BaseException) -> str:
    """Return the innermost lines, as file and line."""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def shown(data: bytes) -> str:
    return repr(data) if len(data) <= 600 else f"{data[:400]!r} ... {data[-150:]!r} ({len(data)} bytes)"


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
