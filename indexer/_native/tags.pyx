# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A hash of the tags of each series, as `indexer.intern.series.tag_sums` makes it, without columns in between."""

import numpy as np

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #define GOLDEN 0x9E3779B97F4A7C15ULL
    #define FIRST 0xBF58476D1CE4E5B9ULL
    #define SECOND 0x94D049BB133111EBULL
    #define PAIR 0xD6E8FEB86659FD93ULL
    """
    const uint64_t GOLDEN, FIRST, SECOND, PAIR


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    """See `indexer.intern.series.mix`."""
    value += GOLDEN
    value = (value ^ value >> 30) * FIRST
    value = (value ^ value >> 27) * SECOND
    return value ^ value >> 31


def tag_sums_of(
    const uint64_t[::1] ids,
    const uint16_t[::1] tag_count,
    const uint32_t[::1] tag_key,
    const uint32_t[::1] tag_value,
):
    """For each series the sum of its tags' hashes. Raises IndexError, ValueError."""
    cdef size_t count = tag_count.shape[0]
    cdef size_t strings = ids.shape[0]
    cdef size_t tags = tag_key.shape[0]
    out = np.empty(count, np.uint64)
    cdef uint64_t[::1] sums = out
    cdef uint64_t sum
    cdef size_t at = 0
    cdef size_t i, end
    if <size_t>tag_value.shape[0] != tags:
        raise ValueError("keys and values of different numbers")
    for i in range(count):
        end = at + tag_count[i]
        if end > tags:
            raise ValueError("fewer tags than counted")
        sum = 0
        while at < end:
            if tag_key[at] >= strings or tag_value[at] >= strings:
                raise IndexError("a tag of no string")
            sum += mix(mix(ids[tag_key[at]]) * PAIR + ids[tag_value[at]])
            at += 1
        sums[i] = sum
    return out
