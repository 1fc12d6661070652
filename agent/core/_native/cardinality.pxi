# Limits of series: how many each metric has, and where the lines of more go.
#
# Owns the counts by metric name and the series with `__overflow__="true"`, one per metric and type, which keep the
# totals of all lines whose series is beyond a limit. A line beyond a limit leaves nothing: no head, no
# series. So memory is bounded whatever is sent; such a line is parsed anew each time.
#
# The definition is agent/aggregate/aggregator.py `_overflow`.

cdef const char *OVERFLOW_KEY = "__overflow__"

cdef enum:
    OVERFLOW_BYTES = 12

cdef struct Metric:  # an Entry
    uint32_t hash
    uint32_t name_bytes
    uint64_t series  # remembered, those for overflow too
    Series *overflow[KINDS]  # held here, or NULL
    # then the name


cdef inline char *metric_name(Metric *metric) noexcept nogil:
    return <char *>metric + sizeof(Metric)


cdef inline uint64_t metric_hash(const char *name, size_t size) noexcept nogil:
    return fold(hash_exactly(name, size, seeds.third), seeds.second)


cdef Metric *metric_find(Shard *shard, const char *name, size_t size) noexcept nogil:
    """The counts of a metric, or NULL."""
    cdef uint64_t hash = metric_hash(name, size)
    cdef Segment *segment = segment_of(&shard.metrics, hash)
    cdef uint32_t at = <uint32_t>hash & segment.mask
    cdef Metric *metric
    while segment.slots[at]:
        if segment.slots[at] >> SLOT_TAG_SHIFT == hash >> SLOT_TAG_SHIFT:
            metric = <Metric *>slot_entry(segment.slots[at])
            if metric.name_bytes == size and memcmp(metric_name(metric), name, size) == 0:
                return metric
        at = (at + 1) & segment.mask
    return NULL


cdef Metric *metric_of(Shard *shard, const char *name, size_t size) noexcept nogil:
    """The counts of a metric, found or made."""
    cdef Metric *metric = metric_find(shard, name, size)
    if metric == NULL:
        metric = <Metric *>take_zeroed(sizeof(Metric) + size)
        metric.name_bytes = size
        memcpy(metric_name(metric), name, size)
        table_put(&shard.metrics, metric_hash(name, size), <Entry *>metric)
        shard.series_bytes += sizeof(Metric) + size
    return metric


cdef void count_series(Shard *shard, const char *name, size_t size) noexcept nogil:
    """Counts a new series of a metric."""
    metric_of(shard, name, size).series += 1


cdef void uncount_series(Shard *shard, const char *name, size_t size) noexcept nogil:
    """One series less; a metric that has none but those for overflow lets these go, and ends with the last."""
    cdef Metric *metric = metric_find(shard, name, size)
    cdef Series *held[KINDS]
    cdef uint64_t count = 0
    cdef size_t i
    metric.series -= 1
    if metric.series == 0:
        table_remove(&shard.metrics, <Entry *>metric)
        shard.series_bytes -= sizeof(Metric) + size
        free(metric)
        return
    for i in range(KINDS):
        held[i] = metric.overflow[i]
        count += held[i] != NULL
    if count < metric.series:
        return
    memset(metric.overflow, 0, sizeof(metric.overflow))
    for i in range(KINDS):
        series_let_go(shard, held[i])


cdef void let_overflow_go(Shard *shard) noexcept nogil:
    """Lets all series for overflow go: at the end."""
    cdef Series *held
    cdef Metric *metric
    cdef size_t i, k, at
    for i in range(SEGMENTS):
        at = 0
        while at <= shard.metrics.segments[i].mask:
            metric = <Metric *>slot_entry(shard.metrics.segments[i].slots[at])
            held = NULL
            if metric != NULL:
                for k in range(KINDS):
                    if metric.overflow[k] != NULL:
                        held = metric.overflow[k]
                        metric.overflow[k] = NULL
                        break
            if held != NULL:
                series_let_go(shard, held)  # may end the metric, and another may move up
            else:
                at += 1


cdef bint is_beyond(
    Shard *shard, int kind, const char *name, size_t size, Tag *tags, uint32_t count
) noexcept nogil:
    """Is a series new, and beyond a limit?"""
    cdef uint64_t most = shard.core.max_metric_series
    cdef Metric *metric
    if shard.core.max_total_series == 0 or shard.series.count < shard.core.max_total_series:
        if most == 0 or shard.series.count < most:
            return False
        metric = metric_find(shard, name, size)
        if metric == NULL or metric.series < most:
            return False
    return series_find(shard, kind, name, size, tags, count) == NULL


cdef Series *overflow_series(Shard *shard, int kind, const char *name, size_t size) noexcept nogil:
    """The series that keeps the totals of a metric's lines beyond a limit; of one that is new, of all such."""
    cdef Metric *metric = metric_find(shard, name, size)
    cdef Tag *tags = shard.parts.tags
    cdef uint32_t count = 1
    cdef Series *series
    cdef size_t i
    if metric == NULL:
        name, size = OVERFLOW_KEY, OVERFLOW_BYTES
        metric = metric_of(shard, name, size)
    series = metric.overflow[kind]
    if series == NULL:
        tags[0].key = OVERFLOW_KEY
        tags[0].key_bytes = OVERFLOW_BYTES
        tags[0].value = BARE_VALUE
        tags[0].value_bytes = 4
        tags[0].flags = 0
        for i in range(shard.core.static_count):
            if tag_find(tags, 1, &shard.core.static_tags[i]) == NULL:
                tags[count] = shard.core.static_tags[i]
                count += 1
        sort_tags(tags, count)
        series = metric.overflow[kind] = series_intern(shard, NULL, kind, name, size, tags, count)
        flags_put(&series.flags, <uint8_t>(series.flags | SERIES_OVERFLOW))
    series_use(shard, series)
    shard.new_series += 1
    return series


cdef Head *overflow_head(Shard *shard, Parts *parts, Series *series) noexcept nogil:
    """A head for one line, which is not remembered."""
    cdef Head *head = shard.overflow
    head.kind = parts.kind
    head.stamp = 0
    head.series = series
    head.flags = HEAD_EXTRA
    head.flags |= HEAD_PLUS if parts.deltas != NO_DELTAS else 0
    head.flags |= HEAD_MINUS if parts.deltas == SIGNED_DELTAS else 0
    head.flags |= HEAD_FACTORS if has_factors(parts) else 0
    head_extra(head).weight = parts.weight
    head_extra(head).scale = parts.scale
    head_extra(head).divisor = parts.divisor
    memcpy(head_extra(head).ignored, parts.ignored, sizeof(parts.ignored))
    return head


cdef Head *beyond_head(Shard *shard, Parts *parts) noexcept nogil:
    """The head of a line whose series is beyond a limit; NULL if it is not. The tags are complete."""
    cdef size_t size = parts.name_bytes + parts.name_end_bytes
    cdef char *joined = NULL
    cdef const char *name = parts.name
    cdef Head *head = NULL
    if parts.name_end_bytes:
        joined = <char *>take(size)
        join_name(parts, joined)
        name = joined
    if unlikely(is_beyond(shard, parts.kind, name, size, parts.tags, parts.count)):
        head = overflow_head(shard, parts, overflow_series(shard, parts.kind, name, size))
    free(joined)
    return head
