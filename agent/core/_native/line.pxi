# Lines: packets in, cells changed.
#
# Owns the way of a line. Packets are read in groups of GROUP lines, in passes, so that waiting for memory
# overlaps: 1. part a line, read its number, hash its key, fetch its slot; 2. look at the slot, fetch the head;
# 3. fetch the cell; 4. apply. Lines beyond the quick way (the first line of a head, packed values, deltas,
# `|T`, every bad line) go through `take_line`, which repeats in full agent/protocol/line.py `parse_line` and
# agent/aggregate/aggregator.py say. Order of arrival is kept.

cdef enum:
    GROUP = 64

cdef struct Record:
    const char *line
    const char *rest  # its first `|`, or NULL if the quick way is not for this line
    const char *end  # without a carriage return
    const char *raw
    uint64_t hash
    Head *head
    double value
    bint is_number  # all of the raw value is
    uint32_t size  # with the carriage return


cdef void core_add(
    Core *core, const char *lines, size_t size, int64_t now_ms, const Origin *origin
) noexcept nogil:
    """Takes lines from any memory: they are copied to a buffer with room to read on after them."""
    cdef char *copy = <char *>take(size + SCAN_BEYOND)
    cdef const char *data = copy
    cdef uint32_t length = size
    memcpy(copy, lines, size)
    memset(copy + size, 0, SCAN_BEYOND)
    shard_add_packets(&core.shards[0], &data, &length, 1, now_ms, origin)
    free(copy)


cdef void shard_add_packets(
    Shard *shard, const char **data, const uint32_t *sizes, int count, int64_t now_ms, const Origin *origin
) noexcept nogil:
    """Takes packets that arrived at `now_ms`; the last line of each needs no newline.

    SCAN_BEYOND bytes after each packet must be readable; their content does not matter.
    """
    cdef Record records[GROUP]
    cdef const char *at
    cdef const char *end
    cdef int filled = 0
    cdef size_t i
    pthread_mutex_lock(&shard.lock)
    shard.origin = origin
    now_ms = shard_begin(shard, now_ms)
    for i in range(count):
        at, end = data[i], data[i] + sizes[i]
        while at < end:
            at = read_record(shard, at, end, &records[filled])
            filled += records[filled].size != 0
            if filled == GROUP:
                take_records(shard, records, filled, now_ms)
                filled = 0
    take_records(shard, records, filled, now_ms)
    total_set(&shard.entries_shown, shard.entries)
    pthread_mutex_unlock(&shard.lock)
    if shard.foreign_count:
        shard_add_foreign(&shard.core.shards[0], shard.foreign, shard.foreign_count, now_ms, origin)
        shard.foreign_count = 0


cdef inline const char *read_record(
    Shard *shard, const char *line, const char *end, Record *record
) noexcept nogil:
    """Parts the line at `line`; gives where the next one starts. An empty line has size 0."""
    cdef const char *colon = scan_name(line, end)
    cdef const char *raw = colon + 1
    cdef const char *bar = NULL
    cdef const char *stop
    cdef int timed = 0
    record.line = line
    record.rest = NULL
    record.value = 0.0
    if likely(colon < end and colon[0] == c":"):
        bar = parse_number(raw, end, &record.value)
        record.is_number = bar != NULL and bar < end and bar[0] == c"|"
        if not record.is_number:
            bar = raw
            while bar < end and bar[0] != c"|" and bar[0] != c"\n":
                bar += 1
        stop = bar if bar < end and bar[0] == c"\n" else scan_line(bar + 1, end, &timed)
    else:
        stop = scan_line(colon, end, &timed)
    record.size = stop - line
    record.end = stop - (stop > line and (stop - 1)[0] == c"\r")
    if record.end == line:
        record.size = 0
        return stop + 1
    shard.lines += 1
    if likely(bar != NULL and bar < record.end and bar > raw and colon > line and not timed) and (
        record.size <= shard.core.max_line_bytes
    ):
        record.raw = raw
        record.rest = bar
        record.hash = hash_key(line, colon - line, bar, record.end - bar)
        prefetch_read(table_place(&shard.heads, record.hash))
    return stop + 1


cdef void take_records(Shard *shard, Record *records, int count, int64_t now_ms) noexcept nogil:
    cdef Record *record
    cdef Head *head
    cdef size_t i
    for i in range(count):
        if records[i].rest != NULL:
            head = records[i].head = head_guess(&shard.heads, records[i].hash)
            prefetch_read(head)
            prefetch_read(<void *>(<size_t>head + 64))  # as numbers: it may be NULL
    for i in range(count):
        if records[i].rest != NULL and records[i].head != NULL:
            fetch_cell(shard, records[i].head)
    for i in range(count):
        if records[i].rest != NULL and records[i].head != NULL:
            fetch_list(shard, &records[i])
    for i in range(count):
        record = &records[i]
        if record.rest != NULL and take_quickly(shard, record, now_ms):
            continue
        # So other shards know no gauges: neither those that were sent, nor those that a mapping makes.
        if (not is_home(shard) and may_be_gauge(record)) or (
            not take_line(shard, record.line, record.size, now_ms, True)
        ):
            put_aside(shard, record)
    if unlikely(shard.sweeps):
        shard_sweep(shard, SWEEP_SLOTS + slots_due(shard))


cdef inline void fetch_cell(Shard *shard, const Head *head) noexcept nogil:
    """Asks for the cell of a head, and everything else its line will change."""
    if head.stamp != shard.present.stamp:
        return
    prefetch_write(head.cell)
    if head.kind == DISTRIBUTION:
        prefetch_write(<char *>head.cell + 64)
    elif head.kind == GAUGE:
        prefetch_write(<char *>head.series + 64)  # its memory is after its tags


cdef inline void fetch_list(Shard *shard, const Record *record) noexcept nogil:
    """Asks for the place of the value in a cell that is there by now."""
    cdef const Head *head = record.head
    if head.stamp != shard.present.stamp:
        return
    if head.kind == DISTRIBUTION:
        prefetch_write(distribution_place(<Distribution *>head.cell, record.value))
    elif head.kind == SET:
        prefetch_write((<MemberSet *>head.cell).members)


cdef inline bint take_quickly(Shard *shard, Record *record, int64_t now_ms) noexcept nogil:
    """Adds a line of a known head with one plain value; False if it is not one."""
    cdef Head *head = record.head
    cdef const char *raw = record.raw
    cdef Bucket *bucket = shard.present
    cdef double weight, value
    cdef Cell *cell
    if unlikely(
        head == NULL or head.flags & HEAD_SLOW or not head_alive(shard, head)
        or not head_is(head, record.line, raw - 1 - record.line, record.rest, record.end - record.rest)
    ):
        return False
    weight, value = head_weight(head), scaled(head, record.value)
    if head.kind != SET and unlikely(
        not record.is_number or not -DBL_MAX <= value * weight <= DBL_MAX
        or (head.kind == GAUGE and is_delta(head, raw[0]))
    ):
        return False
    head_use(shard, head)
    cell = head.cell if likely(head.stamp == bucket.stamp) else head_cell(shard, head)
    cell.lines += 1
    if head.kind == COUNTER:
        (<Counter *>cell).value += value * weight
    elif head.kind == GAUGE:
        gauge_add(<Gauge *>cell, value, now_ms)
        gauge_remember(head.series, value, now_ms)
    else:
        shard.entries -= bucket.entries
        if head.kind == DISTRIBUTION:
            distribution_add(bucket, <Distribution *>cell, value, weight)
        else:
            set_add(bucket, <MemberSet *>cell, xxh64(raw, record.rest - raw))
        shard.entries += bucket.entries
    return True


cdef inline void gauge_remember(Series *series, double value, int64_t time_ms) noexcept nogil:
    """The base of later deltas: the latest value, of values with one time the last."""
    cdef GaugeMemory *memory = series_gauge(series)
    if time_ms >= memory.last_ms:
        memory.last = value
        memory.last_ms = time_ms


# Cells of the present bucket, and of others.


cdef Cell *head_cell(Shard *shard, Head *head) noexcept nogil:
    """The head's cell in the present bucket, found or made; the head knows it from now on."""
    cdef Bucket *bucket = shard.present
    cdef Series *series = head.series
    cdef Cell *cell
    if series.stamp != bucket.stamp:
        cell = bucket_find(bucket, series)
        if cell == NULL:
            cell = shard_new_cell(shard, bucket, series)
        series_move(shard, series)
        series.stamp = bucket.stamp
        series.cell = cell
    head.stamp = bucket.stamp
    head.cell = series.cell
    return series.cell


cdef void series_move(Shard *shard, Series *series) noexcept nogil:
    """A series goes to the present bucket: if the one it was in is still open, that one has to know."""
    cdef uint32_t stamp = series.stamp
    cdef int i
    for i in range(shard.open_count):
        if shard.open[i].stamp == stamp:
            bucket_scatter(shard.open[i], series, series.cell)
            return


cdef Cell *cell_in(Shard *shard, Bucket *bucket, Series *series) noexcept nogil:
    """The cell of a series in any bucket, found or made."""
    cdef Cell *cell
    if series.stamp == bucket.stamp:
        return series.cell
    cell = bucket_find(bucket, series)
    if cell == NULL:
        cell = shard_new_cell(shard, bucket, series)
        bucket_scatter(bucket, series, cell)
    return cell


cdef inline Cell *shard_new_cell(Shard *shard, Bucket *bucket, Series *series) noexcept nogil:
    shard.entries += 1
    return cell_new(bucket, series)
