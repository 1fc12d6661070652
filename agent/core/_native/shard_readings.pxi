# Readings of a shard for operators: its metrics, tags, counts and memory, each with its lock held briefly.


cdef int add_metrics(Shard *shard, int number, found) except -1:
    """Adds the metrics of one segment: its lock is held for no longer."""
    cdef Segment *segment = &shard.metrics.segments[number]
    cdef Metric *metric
    cdef size_t i
    with nogil:
        pthread_mutex_lock(&shard.lock)
    try:
        for i in range(segment.mask + 1):
            metric = <Metric *>slot_entry(segment.slots[i])
            if metric != NULL:
                found[PyBytes_FromStringAndSize(metric_name(metric), metric.name_bytes)] += metric.series
    finally:
        pthread_mutex_unlock(&shard.lock)
    return 0


cdef int add_tags(Shard *shard, int number, int count, list found) except -1:
    """Adds the tags of at most `count` series of one segment."""
    cdef Segment *segment = &shard.series.segments[number]
    cdef Series *series
    cdef size_t i = 0
    cdef int taken = 0
    cdef list tags
    with nogil:
        pthread_mutex_lock(&shard.lock)
    try:
        while i <= segment.mask and taken < count:
            series = <Series *>slot_entry(segment.slots[i])
            i += 1
            if series != NULL:
                tags = [text_of_tag(shard, series, k) for k in range(series.tags)]
                found.append(tuple(tags))
                taken += 1
    finally:
        pthread_mutex_unlock(&shard.lock)
    return 0


cdef tuple text_of_tag(Shard *shard, Series *series, uint32_t number):
    cdef Tag tag = tag_of(shard, series, number)
    key = PyBytes_FromStringAndSize(tag.key, tag.key_bytes)
    value = PyBytes_FromStringAndSize(tag.value, tag.value_bytes)
    return key.decode(errors="replace"), value.decode(errors="replace")


cdef void add_counts(counts, names, uint64_t *values):
    for number, name in enumerate(names):
        if values[number]:
            counts[name] += values[number]


cdef uint64_t shard_sum(Shard *shard, int what):
    cdef uint64_t found
    with nogil:
        pthread_mutex_lock(&shard.lock)
    if what == 0:
        found = bucket_cells(shard.present)
    elif what == 1:
        found = shard.young_series + shard.old_series
    elif what == 2:
        found = shard.forgotten_heads
    elif what == 4:
        found = shard.forgotten_values
    else:
        found = shard.heads.bytes + shard.head_bytes + shard.series.bytes + shard.series_bytes
        found += shard.metrics.bytes
        found += values_bytes(&shard.young_values) + values_bytes(&shard.old_values)
        for i in range(shard.open_count):
            found += bucket_bytes(shard.open[i])
    pthread_mutex_unlock(&shard.lock)
    return found
