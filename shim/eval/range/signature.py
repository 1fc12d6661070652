"""What a range function is, and what it sees: all cells with enough samples at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shim.eval.budget import Take, free
from shim.eval.functions.signature import Type
from shim.eval.windows import Block, blocks
from shim.values import Annotations, Floats, Ints, Samples


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells to compute, each with at least as many samples as the function asks for; arrays (cells,)."""

    samples: Samples
    begin: Ints  # place of the first sample
    end: Ints  # one behind the last sample
    end_ms: Ints  # the window's end
    eval_ms: Ints  # the time the query is evaluated at: the window's end but for offset and @
    width_ms: int
    parameters: tuple[Floats, ...]  # the scalar arguments
    take: Take = free

    @property
    def last(self) -> Ints:
        return self.end - 1

    @property
    def counts(self) -> Ints:
        return self.end - self.begin

    def by_block(self, compute: Callable[[Block], Floats]) -> Floats:
        """One value per cell from the dense samples, block by block."""
        out = np.zeros(len(self.begin))
        with np.errstate(all="ignore"):
            for block in blocks(self.begin, self.end):
                self.take(0)
                out[block.cells] = compute(block)
        return out


Compute = Callable[[Cells], Floats]
Check = Callable[[Cells, Annotations], None]


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """A function of one range vector and scalars, in the order of `args`.

    A cell with fewer than `at_least` samples has no result. `check` may warn or raise, knowing all cells.
    """

    name: str
    compute: Compute
    at_least: int = 1
    args: tuple[Type, ...] = ("matrix",)
    keeps_name: bool = False
    expects_counter: bool = False
    check: Check | None = None

    @property
    def parameters(self) -> int:
        """How many scalars."""
        return len(self.args) - 1
