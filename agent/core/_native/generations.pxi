# Forgetting: how long heads and series are remembered, with the meaning of agent/aggregate/generational_cache.py.
#
# A head is `young` (used since the last turn), `old` (used in the turn before) or dead; a turn comes when the
# young ones reach `max_series` (long ones count several times) or `gauge_memory_s` is over. Turning is one addition: `shard_sweep` frees the dead
# a few slots per step, so it never takes long. While a sweep lasts, each head that gets young has
# enough slots looked at that a round is over before the next turn: so there are never more than `max_series`
# dead ones beside as many young and as many old. A series goes with its last head, once no cell holds it; the last
# value of a gauge that may get deltas stays (last_values.pxi).

cdef enum:
    SWEEP_SLOTS = 128  # looked at per group of lines while something is to be freed
    IDLE_SWEEP_SLOTS = 4096  # looked at per flush
    SLOTS_AHEAD = 8
    HEAVY_BYTES = 512  # a longer head counts once more for each further ones: agent/aggregate/aggregator.py


cdef inline bint head_alive(Shard *shard, Head *head) noexcept nogil:
    return head.turn + 1 >= shard.turn


cdef inline void head_use(Shard *shard, Head *head) noexcept nogil:
    """Keeps a head that is alive for another while."""
    if unlikely(head.turn != shard.turn):
        shard.old_heads -= 1
        head_put(shard, head)


cdef void head_put(Shard *shard, Head *head) noexcept nogil:
    """Makes a head young that is not."""
    cdef uint64_t weight = 1 + head.key_bytes // HEAVY_BYTES
    if shard.young_weight >= shard.core.max_series:
        shard.forgotten_heads += shard.old_heads
        shard_turn(shard)
    shard.young_heads += 1
    shard.young_weight += weight
    if shard.sweeps != 0:
        shard.unswept_heads += weight
    head.turn = shard.turn
    series_use(shard, head.series)


cdef inline void series_use(Shard *shard, Series *series) noexcept nogil:
    if series == NULL or series.turn == shard.turn:
        return
    if series.turn + 1 == shard.turn:
        shard.old_series -= 1
    shard.young_series += 1
    series.turn = shard.turn


cdef void shard_turn(Shard *shard) noexcept nogil:
    """The young become the old, the old are dead."""
    shard.turn += 1
    shard.old_heads = shard.young_heads
    shard.young_heads = 0
    shard.young_weight = 0
    shard.old_series = shard.young_series
    shard.young_series = 0
    shard.sweeps = 2  # the one under way may be past the slots that died just now


cdef void shard_tick(Shard *shard, int64_t now_ms) noexcept nogil:
    """A turn if the last one was `gauge_memory_s` ago. A clock set back starts anew."""
    if now_ms < shard.turn_ms or shard.turn_ms == 0:
        shard.turn_ms = now_ms
    elif now_ms - shard.turn_ms >= shard.core.gauge_memory_ms:
        shard.turn_ms = now_ms
        shard_turn(shard)


# Letting go.


cdef void series_let_go(Shard *shard, Series *series) noexcept nogil:
    """One of its heads is gone; it goes, too, without another holder."""
    if series == NULL:
        return
    series.heads -= 1
    if series.heads == 0:
        if count_now(&series.holders) == 0:
            series_free(shard, series)
        else:
            shard.sweeps = 2  # comes back for it


cdef void series_free(Shard *shard, Series *series) noexcept nogil:
    cdef Head *head
    cdef size_t size = series_bytes(series.kind, series.tags, series.flags & SERIES_WIDE)
    series_keep_value(shard, series)
    table_remove(&shard.series, <Entry *>series)
    uncount_series(shard, series.text, series.name_bytes)
    if series.turn == shard.turn:
        shard.young_series -= 1
    elif series.turn + 1 == shard.turn:
        shard.old_series -= 1
    if series.flags & SERIES_OWN_TEXT:
        size += own_text_bytes(shard, series)
        free(series.text)
    else:
        head = head_of_key(series.text)
        head.flags &= ~HEAD_TEXT
        if not head.flags & HEAD_FOUND:
            head_free(shard, head)
    shard.series_bytes -= size
    shard.swept_bytes += size
    free(series)


cdef void head_free(Shard *shard, Head *head) noexcept nogil:
    shard.head_bytes -= head_size(head)
    shard.swept_bytes += head_size(head)
    free(head)


cdef void head_remove(Shard *shard, Segment *segment, uint32_t at) noexcept nogil:
    """Forgets the dead head in a slot."""
    cdef Head *head = <Head *>slot_entry(segment.slots[at])
    segment_remove_at(segment, at)
    shard.heads.count -= 1
    series_let_go(shard, head.series)
    head.flags &= ~HEAD_FOUND
    if not head.flags & HEAD_TEXT:
        head_free(shard, head)


cdef uint64_t slots_due(Shard *shard) noexcept nogil:
    """How many slots to sweep for the heads that got young since the last time."""
    cdef uint64_t heads = shard.unswept_heads
    cdef uint64_t more = max(shard.heads.bytes, shard.series.bytes)
    cdef uint64_t less = min(shard.heads.bytes, shard.series.bytes)
    shard.unswept_heads = 0
    # One round: of each segment as many as the larger one of the tables has, so some more than the larger table.
    return heads * ((more + less // 4) // sizeof(uint64_t) // shard.core.max_series + 1)


cdef inline void fetch_slot(Segment *segment, uint32_t at) noexcept nogil:
    if at + SLOTS_AHEAD <= segment.mask:
        prefetch_read(slot_entry(segment.slots[at + SLOTS_AHEAD]))


cdef void shard_sweep(Shard *shard, uint64_t slots) noexcept nogil:
    """Frees the dead among the next `slots` slots of both tables."""
    cdef Segment *segment
    cdef Head *head
    cdef Series *series
    while slots and shard.sweeps:
        slots -= 1
        segment = &shard.heads.segments[shard.sweep_segment]
        fetch_slot(segment, shard.sweep_slot)
        fetch_slot(&shard.series.segments[shard.sweep_segment], shard.sweep_slot)
        if shard.sweep_slot <= segment.mask:
            head = <Head *>slot_entry(segment.slots[shard.sweep_slot])
            if head != NULL and not head_alive(shard, head):
                head_remove(shard, segment, shard.sweep_slot)
                continue  # another may have moved up
        segment = &shard.series.segments[shard.sweep_segment]
        if shard.sweep_slot <= segment.mask:
            series = <Series *>slot_entry(segment.slots[shard.sweep_slot])
            if series != NULL and series.heads == 0 and count_now(&series.holders) == 0:
                series_free(shard, series)
                continue
        shard.sweep_slot += 1
        if shard.sweep_slot > max(shard.heads.segments[shard.sweep_segment].mask, segment.mask):
            sweep_next(shard)


cdef void sweep_next(Shard *shard) noexcept nogil:
    """On to the next segment; after the last one a sweep is done."""
    segment_shrink(&shard.heads, &shard.heads.segments[shard.sweep_segment])
    segment_shrink(&shard.series, &shard.series.segments[shard.sweep_segment])
    segment_shrink(&shard.metrics, &shard.metrics.segments[shard.sweep_segment])
    shard.sweep_slot = 0
    shard.sweep_segment += 1
    if shard.sweep_segment == SEGMENTS:
        shard.sweep_segment = 0
        shard.sweeps -= 1
