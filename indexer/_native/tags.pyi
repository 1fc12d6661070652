"""Types of the compiled hashes of tags; tags.pyx is the code."""

from typing import Any

import numpy.typing as npt

from indexer.intern.series import U64s

AnyArray = npt.NDArray[Any]

def tag_sums_of(ids: U64s, tag_count: AnyArray, tag_key: AnyArray, tag_value: AnyArray) -> U64s: ...
