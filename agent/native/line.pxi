# Lines: packets in, cells changed.
#
# Owns the way of a line. Packets are read in groups of GROUP lines, in passes, so that waiting for memory
# overlaps: 1. part a line, read its number, hash its key, fetch its slot; 2. look at the slot, fetch the head;
# 3. fetch the cell; 4. apply. What the quick way cannot do (the first line of a head, packed values, deltas,
# `|T`, whatever is bad) goes through `take_line`, which says in full what agent/line.py `parse_line` and
# agent/aggregate.py say. Order of arrival is kept.

cdef enum:
    GROUP = 64
    SWEEP_SLOTS = 128  # looked at per group while something is to be freed

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


cdef void shard_add_packets(
    Shard *shard, const char **data, const uint32_t *sizes, int count, int64_t now_ms
) noexcept nogil:
    """Takes packets that arrived at `now_ms`; the last line of each needs no newline.

    SCAN_BEYOND bytes behind each packet must be readable; what they hold does not matter.
    """
    cdef Record records[GROUP]
    cdef const char *at
    cdef const char *end
    cdef int filled = 0
    cdef size_t i
    pthread_mutex_lock(&shard.lock)
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
        shard_add_foreign(&shard.core.shards[0], shard.foreign, shard.foreign_count, now_ms)
        shard.foreign_count = 0


cdef inline const char *read_record(Shard *shard, const char *line, const char *end, Record *record) noexcept nogil:
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
        if not is_home(shard) and may_be_gauge(record):  # so other shards know no gauges
            put_aside(shard, record)
        else:
            take_line(shard, record.line, record.size, now_ms, True)
    if unlikely(shard.sweeps):
        shard_sweep(shard, SWEEP_SLOTS)


cdef inline void fetch_cell(Shard *shard, const Head *head) noexcept nogil:
    """Asks for the cell of a head, and what else its line will change."""
    if head.stamp != shard.present.stamp:
        return
    prefetch_write(head.cell)
    if head.kind == DISTRIBUTION:
        prefetch_write(<char *>head.cell + 64)
    elif head.kind == GAUGE:
        prefetch_write(<char *>head.series + 64)  # its memory is behind its tags


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
    cdef Cell *cell
    if unlikely(
        head == NULL or head.flags & HEAD_SLOW or not head_alive(shard, head)
        or not head_is(head, record.line, raw - 1 - record.line, record.rest, record.end - record.rest)
    ):
        return False
    if head.kind != SET and unlikely(
        not record.is_number or not -DBL_MAX <= record.value * head.weight <= DBL_MAX
        or (head.kind == GAUGE and (raw[0] == c"-" or raw[0] == c"+"))
    ):
        return False
    head_use(shard, head)
    cell = head.cell if likely(head.stamp == bucket.stamp) else head_cell(shard, head)
    if head.kind == COUNTER:
        (<Counter *>cell).value += record.value * head.weight
    elif head.kind == GAUGE:
        gauge_add(<Gauge *>cell, record.value, now_ms)
        gauge_remember(head.series, record.value, now_ms)
    else:
        shard.entries -= bucket.entries
        if head.kind == DISTRIBUTION:
            distribution_add(bucket, <Distribution *>cell, record.value, head.weight)
        else:
            set_add(bucket, <MemberSet *>cell, xxh64(raw, record.rest - raw))
        shard.entries += bucket.entries
    return True


cdef inline void gauge_remember(Series *series, double value, int64_t time_ms) noexcept nogil:
    """What later deltas start from: the latest value, of values with one time the last."""
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
        cell = place_find(&bucket.places, series)
        if cell == NULL:
            cell = shard_new_cell(shard, bucket, series)
        series_move(shard, series)
        series.stamp = bucket.stamp
        series.cell = cell
    head.stamp = bucket.stamp
    head.cell = series.cell
    return series.cell


cdef void series_move(Shard *shard, Series *series) noexcept nogil:
    """A series comes to the present bucket: if the one it was in is still open, that one remembers its cell."""
    cdef uint32_t stamp = series.stamp
    cdef int i
    for i in range(shard.open_count):
        if shard.open[i].stamp == stamp:
            place_put(&shard.open[i].places, series, series.cell)
            return


cdef Cell *cell_in(Shard *shard, Bucket *bucket, Series *series) noexcept nogil:
    """The cell of a series in any bucket, found or made."""
    cdef Cell *cell
    if series.stamp == bucket.stamp:
        return series.cell
    cell = place_find(&bucket.places, series)
    if cell == NULL:
        cell = shard_new_cell(shard, bucket, series)
        place_put(&bucket.places, series, cell)
    return cell


cdef inline Cell *shard_new_cell(Shard *shard, Bucket *bucket, Series *series) noexcept nogil:
    shard.entries += 1
    return cell_new(bucket, series)


# The full way.


cdef void take_line(Shard *shard, const char *line, size_t size, int64_t now_ms, bint whole) noexcept nogil:
    """Any line; `whole`: it may hold further samples of its name."""
    cdef int refused = read_line(shard, line, size, now_ms)
    if refused == GOOD:
        return
    if whole and (refused == UNKNOWN_TYPE or refused == BAD_SAMPLE_RATE):
        if take_samples(shard, line, line + size, now_ms):
            return
    shard.bad[refused] += 1


cdef int read_line(Shard *shard, const char *line, size_t size, int64_t now_ms) noexcept nogil:
    """Adds a line, or counts it as skipped: GOOD; else gives the reason to refuse it."""
    cdef const char *end = line + size
    cdef const char *bar
    cdef const char *colon
    end -= size != 0 and (end - 1)[0] == c"\r"
    if starts(line, end, "_e{", 3):
        shard.skipped[SKIP_EVENT] += 1
        return GOOD
    if starts(line, end, "_sc|", 4):
        shard.skipped[SKIP_SERVICE_CHECK] += 1
        return GOOD
    if <size_t>(end - line) > shard.core.max_line_bytes:
        return LINE_TOO_LONG
    bar = find_byte(line, end, c"|")
    colon = find_byte(line, bar, c":")
    if colon == bar:
        return NO_VALUE
    if colon == line:
        return EMPTY_NAME
    if bar == end:
        return NO_TYPE
    if colon + 1 == bar:
        return EMPTY_VALUE
    return read_parted(shard, line, colon, bar, end, now_ms)


cdef int read_parted(
    Shard *shard, const char *line, const char *colon, const char *bar, const char *end, int64_t now_ms
) noexcept nogil:
    """The same, its parts known: `line .. colon` the name, `colon + 1 .. bar` the value, `bar .. end` the rest."""
    cdef const char *rest = bar
    cdef size_t rest_bytes = end - bar
    cdef int64_t time_s = NO_TIME
    cdef Head *head
    cdef int refused
    refused = take_time_out(shard, &rest, &rest_bytes, &time_s)
    if refused != GOOD:
        return refused
    head = head_of(shard, line, colon - line, rest, rest_bytes, &refused)
    if head == NULL:
        return refused
    if head.series == NULL:
        shard.skipped[SKIP_MAPPING] += 1
        return GOOD
    if head.kind != SET:
        refused = check_values(head, colon + 1, bar)
        if refused != GOOD:
            return refused
    count_ignored(shard, head)
    apply_line(shard, head, colon + 1, bar, time_s, now_ms)
    return GOOD


cdef Head *head_of(
    Shard *shard, const char *name, size_t name_bytes, const char *rest, size_t rest_bytes, int *refused
) noexcept nogil:
    """The head of a line, remembered or new; NULL if the line is to be refused."""
    cdef uint64_t hash = hash_key(name, name_bytes, rest, rest_bytes)
    cdef Head *head = head_find(&shard.heads, hash, name, name_bytes, rest, rest_bytes)
    if head != NULL and head_alive(shard, head):
        head_use(shard, head)
        return head
    return head_make(shard, hash, name, name_bytes, rest, rest_bytes, refused)


cdef void count_ignored(Shard *shard, Head *head) noexcept nogil:
    cdef size_t i
    if head.flags & HEAD_EXTRA:
        for i in range(IGNORED_KINDS):
            shard.ignored[i] += head_extra(head).ignored[i]


cdef int take_time_out(Shard *shard, const char **rest, size_t *rest_bytes, int64_t *time_s) noexcept nogil:
    """Reads a `|T` field and gives the rest without it, in a buffer of its own."""
    cdef const char *first = rest[0] + 1  # the type, which is no field
    cdef const char *end = rest[0] + rest_bytes[0]
    cdef const char *start = <const char *>memmem(first, end - first, "|T", 2)
    cdef const char *stop
    cdef size_t front, back
    cdef char *without
    if start == NULL:
        return GOOD
    stop = find_byte(start + 1, end, c"|")
    if not read_time(start + 2, stop, time_s):
        return BAD_TIMESTAMP
    front, back = start - rest[0], end - stop
    without = room(&shard.untimed, front + back)
    memcpy(without, rest[0], front)
    memcpy(without + front, stop, back)
    rest[0] = without
    rest_bytes[0] = front + back
    return BAD_TIMESTAMP if memmem(without + 1, front + back - 1, "|T", 2) != NULL else GOOD


cdef bint read_time(const char *p, const char *end, int64_t *time_s) noexcept nogil:
    cdef int64_t time = 0
    if p == end or end - p > MOST_TIME_DIGITS:
        return False
    while p < end:
        if not is_digit(p[0]):
            return False
        time = time * 10 + (p[0] - 48)
        p += 1
    time_s[0] = time
    return True


cdef inline double head_scale(Head *head) noexcept nogil:
    return head_extra(head).scale if head.flags & HEAD_EXTRA else 1.0


cdef int check_values(Head *head, const char *p, const char *end) noexcept nogil:
    """All values of a line must be good before one of them is added."""
    cdef const char *stop
    cdef double value
    while True:
        stop = find_byte(p, end, c":")
        if stop == p:
            return EMPTY_VALUE
        if parse_number(p, stop, &value) != stop or not -DBL_MAX <= value <= DBL_MAX:
            return BAD_VALUE
        if not -DBL_MAX <= value * head_scale(head) * head.weight <= DBL_MAX:
            return BAD_VALUE
        if stop == end:
            return GOOD
        p = stop + 1


cdef void apply_line(
    Shard *shard, Head *head, const char *p, const char *end, int64_t time_s, int64_t now_ms
) noexcept nogil:
    """Adds the values of a good line to its cell."""
    cdef int64_t time_ms = now_ms
    cdef Bucket *bucket = shard.present
    cdef Cell *cell
    cdef const char *stop
    cdef double value
    if time_s != NO_TIME:
        time_ms = clamp_time(shard, time_s * 1000, now_ms)
        bucket = bucket_of(shard, time_ms)
    cell = head_cell(shard, head) if bucket == shard.present else cell_in(shard, bucket, head.series)
    shard.entries -= bucket.entries
    if head.kind == SET:
        set_add(bucket, <MemberSet *>cell, xxh64(p, end - p))
    else:
        while True:
            stop = find_byte(p, end, c":")
            parse_number(p, stop, &value)
            value *= head_scale(head)
            if head.kind == COUNTER:
                (<Counter *>cell).value += value * head.weight
            elif head.kind == GAUGE:
                if time_s == NO_TIME and (p[0] == c"-" or p[0] == c"+"):
                    value = moved_gauge(shard, <Gauge *>cell, value, now_ms)
                gauge_add(<Gauge *>cell, value, time_ms)
                gauge_remember(head.series, value, time_ms)
            else:
                distribution_add(bucket, <Distribution *>cell, value, head.weight)
            if stop == end:
                break
            p = stop + 1
    shard.entries += bucket.entries


cdef double moved_gauge(Shard *shard, Gauge *gauge, double delta, int64_t now_ms) noexcept nogil:
    """The gauge's last value (0 if it is too old, or there is none) and a delta, kept within range."""
    cdef GaugeMemory *memory = series_gauge(gauge.series)
    cdef double base = gauge.last if gauge.count else memory.last
    cdef int64_t base_ms = gauge.last_ms if gauge.count else memory.last_ms
    cdef double value = delta
    if base_ms >= 0 and base_ms >= now_ms - shard.core.gauge_memory_ms:
        value = base + delta
    return min(max(value, -DBL_MAX), DBL_MAX)


cdef int64_t clamp_time(Shard *shard, int64_t time_ms, int64_t now_ms) noexcept nogil:
    cdef int64_t oldest = now_ms - shard.core.lateness_ms
    cdef int64_t newest = now_ms + shard.core.future_ms
    if time_ms < oldest:
        shard.clamped_old += 1
        return max(oldest, <int64_t>0)
    if time_ms > newest:
        shard.clamped_future += 1
        return newest
    return time_ms


# Further samples of one name: agent.line.split_samples.


cdef bint take_samples(Shard *shard, const char *line, const char *end, int64_t now_ms) noexcept nogil:
    """Takes the lines that a refused line stands for; False, and nothing done, if it is only one.

    Two passes, since the first sample is taken only if there is a second.
    """
    cdef const char *colon = find_byte(line, end, c":")
    cdef const char *bar = find_byte(line, end, c"|")
    cdef size_t front
    if colon == end or bar == end or colon == line or colon > bar:
        return False
    front = colon + 1 - line
    if front - 1 > shard.core.max_name_bytes or next_sample(colon + 1, end) == NULL:
        return False
    shard.lines -= 1
    take_each_sample(shard, line, front, end, now_ms)
    return True


cdef void take_each_sample(Shard *shard, const char *line, size_t front, const char *end, int64_t now_ms) noexcept nogil:
    cdef const char *start = line + front
    cdef const char *next
    cdef const char *stop
    cdef char *sample
    while True:
        next = next_sample(start, end)
        stop = end if next == NULL else next
        sample = room(&shard.sample, front + (stop - start))
        memcpy(sample, line, front)
        memcpy(sample + front, start, stop - start)
        shard.lines += 1
        take_line(shard, sample, front + (stop - start), now_ms, False)
        if next == NULL:
            return
        start = next + 1


cdef const char *next_sample(const char *start, const char *end) noexcept nogil:
    """The `:` that ends the sample at `start`: one in its type, or in an `@` field; NULL if it is the last."""
    cdef const char *field = find_byte(start, end, c"|")
    cdef const char *stop
    cdef const char *colon
    cdef bint in_type = True
    while field < end:
        field += 1
        stop = find_byte(field, end, c"|")
        colon = find_byte(field, stop, c":")
        if colon < stop and (in_type or field[0] == c"@"):
            return colon
        field = stop
        in_type = False
    return NULL
