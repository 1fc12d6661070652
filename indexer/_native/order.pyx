# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The order of rows by their keys, as `numpy.lexsort` has it, in a seventh of its time.

Series ids are hashes: the first 33 bits separate nearly all of them, and three passes of a radix sort sort those.
The rest is inserted into place; if that gets too long, the caller has to sort in another way.
"""

import numpy as np

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memset

cdef enum:
    DIGIT_BITS = 11
    DIGITS = 1 << DIGIT_BITS
    TOP_SHIFT = 31  # the lowest of the three digits of a series id
    GROUPS = 1 << 15  # at most half of as many different metrics
    MOVES_A_ROW = 8

cdef struct Row:
    uint64_t series_id
    uint32_t at
    uint32_t group

cdef struct Group:
    uint64_t tenant
    uint64_t metric_id
    uint32_t number  # 0: an empty slot; else one more than its number, in the order of coming

cdef struct Columns:
    const uint32_t *org_id
    const uint32_t *project_id
    const uint64_t *metric_id
    const uint64_t *series_id
    const uint32_t *bucket
    size_t rows

cdef struct Work:
    Row *rows
    Row *other
    Group *groups  # open addressing
    Group *sorted
    uint32_t *rank  # of a group's number
    uint32_t *places  # of a rank: how many rows, then where the next one goes
    size_t group_count
    size_t counts[DIGITS]


def order(
    const uint32_t[::1] org_id,
    const uint32_t[::1] project_id,
    const uint64_t[::1] metric_id,
    const uint64_t[::1] series_id,
    const uint32_t[::1] bucket,
):
    """The rows by org, project, metric, series and bucket, equal ones as they came.

    None if that takes another way: too many metrics, or series ids that are no hashes.
    """
    cdef size_t rows = series_id.shape[0]
    if not (
        <size_t>org_id.shape[0] == rows
        and <size_t>project_id.shape[0] == rows
        and <size_t>metric_id.shape[0] == rows
        and <size_t>bucket.shape[0] == rows
    ):
        raise ValueError("columns of different lengths")
    out = np.empty(rows, np.int64)
    cdef int64_t[::1] positions = out
    cdef Columns columns
    cdef bint done
    if rows == 0:
        return out
    if rows >= 1 << 32:
        return None
    columns.org_id = &org_id[0]
    columns.project_id = &project_id[0]
    columns.metric_id = &metric_id[0]
    columns.series_id = &series_id[0]
    columns.bucket = &bucket[0]
    columns.rows = rows
    with nogil:
        done = sort_columns(&columns, &positions[0])
    return out if done else None


cdef bint sort_columns(const Columns *columns, int64_t *positions) noexcept nogil:
    """False without room, or if rows are not as they mostly are."""
    cdef Work *work = <Work *>calloc(1, sizeof(Work))
    cdef bint done = False
    if work == NULL:
        return False
    work.rows = <Row *>malloc(columns.rows * sizeof(Row))
    work.other = <Row *>malloc(columns.rows * sizeof(Row))
    work.groups = <Group *>calloc(GROUPS, sizeof(Group))
    work.sorted = <Group *>malloc(GROUPS // 2 * sizeof(Group))
    work.rank = <uint32_t *>malloc(GROUPS // 2 * sizeof(uint32_t))
    work.places = <uint32_t *>malloc(GROUPS // 2 * sizeof(uint32_t))
    if work.rows and work.other and work.groups and work.sorted and work.rank and work.places:
        if group_rows(work, columns):
            sort_buckets(work, columns)
            sort_series(work, columns.rows)
            done = insert_the_rest(work, columns.rows)
            if done:
                place_groups(work, columns.rows, positions)
    free(work.rows)
    free(work.other)
    free(work.groups)
    free(work.sorted)
    free(work.rank)
    free(work.places)
    free(work)
    return done


cdef bint group_rows(Work *work, const Columns *columns) noexcept nogil:
    """Gives each row the number of its org, project and metric; False if there are too many."""
    cdef Group *group = NULL
    cdef uint64_t tenant, metric_id
    cdef size_t i, at
    for i in range(columns.rows):
        tenant = <uint64_t>columns.org_id[i] << 32 | columns.project_id[i]
        metric_id = columns.metric_id[i]
        if group == NULL or group.tenant != tenant or group.metric_id != metric_id:
            at = ((metric_id ^ tenant) * 0x9E3779B97F4A7C15ULL >> 40) & (GROUPS - 1)
            while work.groups[at].number and not (
                work.groups[at].tenant == tenant and work.groups[at].metric_id == metric_id
            ):
                at = (at + 1) & (GROUPS - 1)
            group = &work.groups[at]
            if group.number == 0:
                if work.group_count == GROUPS // 2:
                    return False
                group.tenant = tenant
                group.metric_id = metric_id
                group.number = work.group_count + 1
                work.sorted[work.group_count] = group[0]
                work.group_count += 1
        work.rows[i].series_id = columns.series_id[i]
        work.rows[i].at = i
        work.rows[i].group = group.number - 1
    return True


cdef void counts_to_places(Work *work) noexcept nogil:
    """How often each digit comes turns into where its first row goes."""
    cdef size_t place = 0
    cdef size_t i, count
    for i in range(DIGITS):
        count = work.counts[i]
        work.counts[i] = place
        place += count


cdef void sort_buckets(Work *work, const Columns *columns) noexcept nogil:
    """By bucket; most batches have one, or few."""
    cdef uint32_t low = columns.bucket[0]
    cdef uint32_t high = low
    cdef uint32_t digit
    cdef size_t i
    cdef int shift = 0
    for i in range(columns.rows):
        low = min(low, columns.bucket[i])
        high = max(high, columns.bucket[i])
    while shift < 32 and (high - low) >> shift:
        memset(work.counts, 0, sizeof(work.counts))
        for i in range(columns.rows):
            work.counts[(columns.bucket[i] - low) >> shift & (DIGITS - 1)] += 1
        counts_to_places(work)
        for i in range(columns.rows):
            digit = (columns.bucket[work.rows[i].at] - low) >> shift & (DIGITS - 1)
            work.other[work.counts[digit]] = work.rows[i]
            work.counts[digit] += 1
        work.rows, work.other = work.other, work.rows
        shift += DIGIT_BITS


cdef void sort_series(Work *work, size_t rows) noexcept nogil:
    """By the first 33 bits of the series id."""
    cdef size_t i, digit
    cdef int shift = TOP_SHIFT
    while shift < 64:
        memset(work.counts, 0, sizeof(work.counts))
        for i in range(rows):
            work.counts[work.rows[i].series_id >> shift & (DIGITS - 1)] += 1
        counts_to_places(work)
        for i in range(rows):
            digit = work.rows[i].series_id >> shift & (DIGITS - 1)
            work.other[work.counts[digit]] = work.rows[i]
            work.counts[digit] += 1
        work.rows, work.other = work.other, work.rows
        shift += DIGIT_BITS


cdef bint insert_the_rest(Work *work, size_t rows) noexcept nogil:
    """By the other bits, which seldom matter; False if they matter too often."""
    cdef size_t left = rows * MOVES_A_ROW
    cdef size_t i, to
    cdef Row row
    for i in range(1, rows):
        if work.rows[i].series_id < work.rows[i - 1].series_id:
            row = work.rows[i]
            to = i
            while to > 0 and row.series_id < work.rows[to - 1].series_id:
                work.rows[to] = work.rows[to - 1]
                to -= 1
                left -= 1
                if left == 0:
                    return False
            work.rows[to] = row
    return True


cdef void place_groups(Work *work, size_t rows, int64_t *positions) noexcept nogil:
    """The rows by group, in the order of groups; `positions` gets where they were."""
    cdef size_t place = 0
    cdef size_t i, count
    cdef uint32_t *to
    qsort(work.sorted, work.group_count, sizeof(Group), &compare_groups)
    for i in range(work.group_count):
        work.rank[work.sorted[i].number - 1] = i
        work.places[i] = 0
    for i in range(rows):
        work.places[work.rank[work.rows[i].group]] += 1
    for i in range(work.group_count):
        count = work.places[i]
        work.places[i] = place
        place += count
    for i in range(rows):
        to = &work.places[work.rank[work.rows[i].group]]
        positions[to[0]] = work.rows[i].at
        to[0] += 1


cdef int compare_groups(const void *one, const void *other) noexcept nogil:
    cdef const Group *a = <const Group *>one
    cdef const Group *b = <const Group *>other
    if a.tenant != b.tenant:
        return 1 if a.tenant > b.tenant else -1
    return (a.metric_id > b.metric_id) - (a.metric_id < b.metric_id)
