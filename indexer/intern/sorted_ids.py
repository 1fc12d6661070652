"""Looks up ids in sorted ids. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]


def find_ids(held: Ids, wanted: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return the position of each wanted id in `held`, which ascend, and whether it is there.

    The position of an absent id is some valid one, or 0 where nothing is held.
    """
    if not len(held):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.searchsorted(held, wanted).astype(np.int64, copy=False)
    at[at == len(held)] = 0
    return at, held[at] == wanted
