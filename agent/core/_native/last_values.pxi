# Last values of gauges whose series were forgotten: a delta starts from them when the gauge comes back.
#
# Owns a table of keys, values and times, in two generations of at most `max_last_values` (as
# agent/aggregate/generational_cache.py), and the records that agent/aggregate/last_values.py describes. Entries are not taken out when a
# series comes back: an export that runs at that moment would miss it. The later of two times counts.
#
# All gauges are of the first shard; its lock guards the tables.

cdef enum:
    FIRST_VALUES = 64

cdef struct LastValue:  # as a record
    uint64_t key  # 0: an empty slot
    double value
    int64_t time_ms

cdef struct LastValues:
    LastValue *slots
    uint32_t mask
    uint32_t used


cdef inline uint64_t values_bytes(LastValues *values) noexcept nogil:
    return 0 if values.slots == NULL else (<uint64_t>values.mask + 1) * sizeof(LastValue)


cdef LastValue *value_place(LastValues *values, uint64_t key) noexcept nogil:
    """The slot of a key, or the empty one where it belongs; a secret decides, as for members of sets."""
    cdef uint64_t at
    multiply_128(key * (seeds.first | 1), <uint64_t>values.mask + 1, &at)
    while values.slots[at].key and values.slots[at].key != key:
        at = (at + 1) & values.mask
    return &values.slots[at]


cdef void values_grow(LastValues *values) noexcept nogil:
    cdef LastValue *before = values.slots
    cdef uint64_t capacity = 0 if before == NULL else <uint64_t>values.mask + 1
    cdef uint64_t i
    values.mask = <uint32_t>(max(capacity * 2, <uint64_t>FIRST_VALUES) - 1)
    values.slots = <LastValue *>take_zeroed((<size_t>values.mask + 1) * sizeof(LastValue))
    for i in range(capacity):
        if before[i].key:
            value_place(values, before[i].key)[0] = before[i]
    free(before)


cdef LastValue *value_find(LastValues *values, uint64_t key) noexcept nogil:
    cdef LastValue *found
    if values.used == 0:
        return NULL
    found = value_place(values, key)
    return found if found.key else NULL


cdef void value_put(Shard *shard, LastValue *value) noexcept nogil:
    """Remembers a value, unless a later one of its key is there."""
    cdef LastValues *young = &shard.young_values
    cdef LastValue *found = value_find(young, value.key)
    if found != NULL:
        if value.time_ms >= found.time_ms:
            found[0] = value[0]
        return
    if shard.core.max_last_values == 0:
        return
    if young.used >= shard.core.max_last_values:
        shard.forgotten_values += shard.old_values.used
        free(shard.old_values.slots)
        shard.old_values = young[0]
        memset(young, 0, sizeof(LastValues))
    if young.slots == NULL or (<uint64_t>young.used + 1) * 4 > (<uint64_t>young.mask + 1) * 3:
        values_grow(young)
    value_place(young, value.key)[0] = value[0]
    young.used += 1


# Series.


cdef uint64_t series_key(Shard *shard, Series *series) noexcept nogil:
    """agent.aggregate.last_values.key_of."""
    cdef size_t size = own_text_bytes(shard, series)  # with a byte between a tag's key and its value
    cdef char *text = room(&shard.text, size + series.tags)
    cdef char *at = text
    cdef uint64_t key
    cdef Tag tag
    cdef size_t i
    memcpy(at, series.text, series.name_bytes)
    at += series.name_bytes
    for i in range(series.tags):
        tag = tag_of(shard, series, i)
        at[0] = <char>0xFF
        memcpy(at + 1, tag.key, tag.key_bytes)
        at += 1 + tag.key_bytes
        at[0] = <char>0xFF
        memcpy(at + 1, tag.value, tag.value_bytes)
        at += 1 + tag.value_bytes
    key = xxh64(text, at - text)
    return key if key else 1


cdef inline bint has_last_value(Series *series) noexcept nogil:
    """A gauge that may get deltas, and has a value."""
    return series.flags & SERIES_DELTAS and series_gauge(series).last_ms >= 0


cdef inline LastValue last_value_of(Shard *shard, Series *series) noexcept nogil:
    cdef LastValue value
    value.key = series_key(shard, series)
    value.value = series_gauge(series).last
    value.time_ms = series_gauge(series).last_ms
    return value


cdef void series_keep_value(Shard *shard, Series *series) noexcept nogil:
    """Remembers the last value of a series that is to be forgotten."""
    cdef LastValue value
    if has_last_value(series) and shard.core.max_last_values:
        value = last_value_of(shard, series)
        value_put(shard, &value)


cdef void series_recall_value(Shard *shard, Series *series) noexcept nogil:
    """Gives a new gauge the last value of one of its name and tags, if that is remembered."""
    cdef GaugeMemory *memory = series_gauge(series)
    cdef LastValue *found
    cdef uint64_t key
    memory.last_ms = -1
    if shard.young_values.used == 0 and shard.old_values.used == 0:
        return
    key = series_key(shard, series)
    found = value_find(&shard.young_values, key)
    if found == NULL:
        found = value_find(&shard.old_values, key)
    if found != NULL:
        memory.last = found.value
        memory.last_ms = found.time_ms
        flags_put(&series.flags, <uint8_t>(series.flags | SERIES_DELTAS))


# Export and import.

cdef struct Records:
    LastValue *items
    size_t count
    size_t room


cdef void record_add(Records *records, LastValue value, int64_t oldest_ms) noexcept nogil:
    if value.time_ms < oldest_ms:
        return
    if records.count == records.room:
        records.room = max(records.room * 2, <size_t>1024)
        records.items = <LastValue *>take_more(records.items, records.room * sizeof(LastValue))
    records.items[records.count] = value
    records.count += 1


cdef void export_values(Shard *shard, Records *records, int64_t oldest_ms) noexcept nogil:
    """All last values: of series forgotten, then of those there are, so that of equal times these count.

    The lock is held for a 256th of the series at once. Values forgotten meanwhile are in the tables by then.
    """
    cdef Records living
    cdef LastValues copies[2]
    cdef Segment *segment
    cdef Series *series
    cdef uint32_t number, at
    cdef uint64_t i
    memset(&living, 0, sizeof(living))
    for number in range(SEGMENTS):
        pthread_mutex_lock(&shard.lock)
        segment = &shard.series.segments[number]
        for at in range(segment.mask + 1):
            series = <Series *>slot_entry(segment.slots[at])
            if series != NULL and has_last_value(series):
                record_add(&living, last_value_of(shard, series), oldest_ms)
        pthread_mutex_unlock(&shard.lock)
    pthread_mutex_lock(&shard.lock)
    values_copy(&copies[0], &shard.old_values)
    values_copy(&copies[1], &shard.young_values)
    pthread_mutex_unlock(&shard.lock)
    for number in range(2):
        for i in range(values_bytes(&copies[number]) // sizeof(LastValue)):
            if copies[number].slots[i].key:
                record_add(records, copies[number].slots[i], oldest_ms)
        free(copies[number].slots)
    for i in range(living.count):
        record_add(records, living.items[i], oldest_ms)
    free(living.items)


cdef void values_copy(LastValues *copy, LastValues *values) noexcept nogil:
    cdef size_t size = values_bytes(values)
    copy[0] = values[0]
    if size:
        copy.slots = <LastValue *>take(size)
        memcpy(copy.slots, values.slots, size)


cdef void import_values(
    Shard *shard, const LastValue *records, size_t count, int64_t oldest_ms, int64_t latest_ms
) noexcept nogil:
    """agent.aggregate.last_values.decode, into the table."""
    cdef LastValue value
    cdef size_t i
    pthread_mutex_lock(&shard.lock)
    for i in range(count):
        memcpy(&value, &records[i], sizeof(LastValue))
        if value.key and -DBL_MAX <= value.value <= DBL_MAX and value.time_ms >= max(oldest_ms, <int64_t>0):
            value.time_ms = min(value.time_ms, latest_ms)
            value_put(shard, &value)
    pthread_mutex_unlock(&shard.lock)
