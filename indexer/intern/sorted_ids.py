"""Sorts ids, and looks up ids in sorted ones. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]
Number = TypeVar("Number", bound=np.generic)


def distinct(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return each value once, ascending.

    NumPy's own function imports masked arrays at its first call: 30 ms of the first batch after a start.
    """
    found = np.sort(values)
    if len(found) < 2:
        return found
    return found[np.concatenate(([True], found[1:] != found[:-1]))]


def find_ids(held: Ids, wanted: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return the position of each wanted id in `held`, which ascend, and whether it is there.

    The position of an absent id is some valid one, or 0 where nothing is held.
    """
    if not len(held):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.searchsorted(held, wanted).astype(np.int64, copy=False)
    at[at == len(held)] = 0
    return at, held[at] == wanted
