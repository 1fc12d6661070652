"""A bound on labels that a query makes. Pure.

Nested label_replace() doubles a value with every level; group_left copies a long one to each series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shim.model.errors import ExecutionError

#: Maximum of characters in all labels that one call of a function, or one join, makes.
MAX_CHARACTERS: Final = 64_000_000


@dataclass(slots=True)
class LabelBytes:
    """Counts the characters that one call or join makes, in advance; `maker` is its name in errors."""

    maker: str
    left: int = MAX_CHARACTERS

    def joined(self, parts: Sequence[str], separator: str = "") -> str:
        """Join the parts to one value.

        Raises: ExecutionError where the call makes too much.
        """
        self.take(map(len, parts))
        self.take([len(separator) * len(parts)])
        return separator.join(parts)

    def take(self, sizes: Iterable[int]) -> None:
        """Count characters that are about to be made.

        Raises: ExecutionError for too many.
        """
        self.left -= sum(sizes)
        if self.left < 0:
            raise ExecutionError(
                f"{self.maker} makes labels that are too long: expected at most"
                f" {MAX_CHARACTERS} characters in all series together"
            )
