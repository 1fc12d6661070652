# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of points as JSON, without an object per number. The definition is shim/http/points.py."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.float cimport DBL_MAX
from libc.math cimport fabs
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

include "digits.pxi"

cdef enum:
    OPENING_BYTES = 32  # `"],[` and a time and `,"`: 31 at most
    POINT_BYTES = 64  # an opening and a value at most
    SEEN = 512  # values whose text is remembered: 24 KiB
    POINTS_AT_A_TIME = 1 << 16  # without the interpreter's lock

cdef struct Opening:
    char text[OPENING_BYTES]
    Py_ssize_t size

cdef struct Seen:
    uint64_t bits
    Py_ssize_t size  # 0: nothing is remembered here
    char text[TEXT_BYTES]


def write_rows(times_ms, values, present):
    """See `shim.http.points.write_rows_in_python`. Takes any layout and type that NumPy can turn into ours."""
    cdef const int64_t[::1] times = np.ascontiguousarray(times_ms, dtype=np.int64)
    cdef const double[:, ::1] floats = np.ascontiguousarray(values, dtype=np.float64)
    cdef const uint8_t[:, ::1] there = np.ascontiguousarray(present, dtype=np.bool_).view(np.uint8)
    cdef Py_ssize_t rows = floats.shape[0]
    cdef Py_ssize_t steps = times.shape[0]
    cdef Py_ssize_t at_a_time, first, last, row
    cdef Py_ssize_t *ends = NULL
    cdef Opening *openings = NULL
    cdef Seen *seen = NULL
    cdef char *text = NULL
    cdef list written = []
    if floats.shape[1] != steps or there.shape[0] != rows or there.shape[1] != steps:
        raise ValueError("values and present have a row a series and a column a time")
    if rows == 0 or steps == 0:
        return [b""] * rows
    at_a_time = min(rows, max(1, POINTS_AT_A_TIME // steps))
    try:
        ends = <Py_ssize_t *>malloc(at_a_time * sizeof(Py_ssize_t))
        openings = <Opening *>malloc(steps * sizeof(Opening))
        seen = <Seen *>calloc(SEEN, sizeof(Seen))
        text = <char *>malloc(at_a_time * (steps + 1) * POINT_BYTES)
        if ends == NULL or openings == NULL or seen == NULL or text == NULL:
            raise MemoryError
        for row in range(steps):
            make_opening(&openings[row], times[row])
        for first in range(0, rows, at_a_time):
            last = min(rows, first + at_a_time)
            with nogil:
                for row in range(first, last):
                    ends[row - first] = write_row(
                        text + (row - first) * (steps + 1) * POINT_BYTES,
                        openings, &floats[row, 0], &there[row, 0], steps, seen,
                    )
            for row in range(last - first):
                # Without the first opening's `"]`, and its comma is the list's bracket.
                written.append(
                    PyBytes_FromStringAndSize(text + row * (steps + 1) * POINT_BYTES + 2, ends[row] - 2)
                    if ends[row] else b""
                )
    finally:
        free(ends)
        free(openings)
        free(seen)
        free(text)
    return written


cdef void make_opening(Opening *opening, int64_t time_ms) noexcept nogil:
    """`"],[1763766000,"`: the text between a value and the next. Seconds with three decimals, or none."""
    cdef uint64_t ms = <uint64_t>time_ms if time_ms >= 0 else 0 - <uint64_t>time_ms
    cdef uint64_t rest = ms % 1000
    cdef char *to = opening.text
    memcpy(to, b'"],[', 4)
    to += 4
    if time_ms < 0:
        to[0] = c"-"
        to += 1
    to = write_whole(to, ms // 1000)
    if rest:
        to[0] = c"."
        memset(to + 1, 48, 3)
        write_digits(to + 4, rest)
        to += 4
    memcpy(to, b',"', 2)
    opening.size = to + 2 - opening.text


cdef Py_ssize_t write_row(
    char *begin, const Opening *openings, const double *values, const uint8_t *present, Py_ssize_t steps,
    Seen *seen,
) noexcept nogil:
    """How many bytes; 0 without a point."""
    cdef char *to = begin
    cdef Py_ssize_t step
    for step in range(steps):
        if present[step]:
            memcpy(to, openings[step].text, OPENING_BYTES)  # all of it: a fixed size is a few moves
            to = write_seen(to + openings[step].size, values[step], seen)
    if to == begin:
        return 0
    begin[2] = c"["
    memcpy(to, b'"]]', 3)
    return to + 3 - begin


cdef inline char *write_seen(char *to, double value, Seen *seen) noexcept nogil:
    """`write_float`; a number written not long ago is copied. Counters give few values, again and again."""
    cdef uint64_t bits
    cdef Seen *slot
    memcpy(&bits, &value, 8)
    slot = &seen[(bits * <uint64_t>0x9E3779B97F4A7C15) >> 55]
    if slot.bits != bits or slot.size == 0:
        slot.bits = bits
        slot.size = write_float(slot.text, value) - slot.text
    memcpy(to, slot.text, TEXT_BYTES)
    return to + slot.size


fill_digit_tables()
