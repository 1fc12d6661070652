# Any line, in full: agent/protocol/line.py `parse_line` and `split_samples`, and the merging of
# agent/aggregate/aggregator.py.
#
# For the lines that the quick way leaves: the first of a head, packed values, deltas, `|T`, every bad line.


cdef bint take_line(Shard *shard, const char *line, size_t size, int64_t now_ms, bint whole) noexcept nogil:
    """Any line; `whole`: of a packet, perhaps with further samples. False, and nothing done: it is foreign."""
    cdef int refused
    if whole:
        shard.packet_line = line
    refused = read_line(shard, line, size, now_ms)
    if refused == GOOD:
        return True
    if whole and (refused == UNKNOWN_TYPE or refused == BAD_SAMPLE_RATE):
        if shard.core.mapper != NULL and not is_home(shard):
            return False  # one of its samples may be: they stay together
        if take_samples(shard, line, line + size, now_ms):
            return True
    if refused == FOREIGN:
        return False
    shard.bad[refused] += 1
    shard.refused_reason = refused
    shard.refused_bytes = <uint32_t>min(size, <size_t>SHOWN_BYTES)
    memcpy(shard.refused_line, line, shard.refused_bytes)
    return True


cdef int read_line(Shard *shard, const char *line, size_t size, int64_t now_ms) noexcept nogil:
    """Adds a line, or counts it as skipped: GOOD; else gives the reason to refuse it, or FOREIGN."""
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
    return read_parted(shard, line, name_end(colon, bar, end), bar, end, now_ms)


cdef const char *name_end(const char *colon, const char *bar, const char *end) noexcept nogil:
    """The `:` after the name, of which `colon` is the first; the type begins after `bar`."""
    cdef const char *kind_end = bar + 1
    cdef const char *after
    if colon[1] <= c"9":  # a number, as nearly always
        return colon
    while kind_end < end and kind_end[0] != c"|" and kind_end[0] != c":":
        kind_end += 1
    if kind_end - bar == 2 and bar[1] == c"s":
        return colon
    while True:
        after = find_byte(colon + 1, bar, c":")
        if after == bar or not is_word(colon + 1, after):
            return colon
        colon = after


cdef bint is_word(const char *part, const char *end) noexcept nogil:
    """agent.protocol.line_name._is_word: the part between two `:` belongs to the name."""
    cdef size_t size = end - part
    cdef size_t i
    if size == 0 or is_digit(part[0]):
        return False
    for i in range(size):
        if not (is_digit(part[i]) or part[i] == c"_" or c"a" <= (part[i] | 32) <= c"z"):
            return False
    return not (
        (size == 3 and (strncasecmp(part, "nan", 3) == 0 or strncasecmp(part, "inf", 3) == 0))
        or (size == 8 and strncasecmp(part, "infinity", 8) == 0)
    )


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
    if head.flags & HEAD_FOREIGN:
        return FOREIGN
    if head.series == NULL:
        shard.skipped[SKIP_MAPPING] += 1
        return GOOD
    if head.kind != SET:
        refused = check_values(head, colon + 1, bar)
        if refused != GOOD:
            return refused
    count_ignored(shard, head)
    if unlikely(head.series.flags & SERIES_OVERFLOW):
        shard.overflow_lines += 1
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
    cdef const char *first = rest[0] + 1  # the type, which is not a field
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


cdef int check_values(Head *head, const char *p, const char *end) noexcept nogil:
    """All values of a line must be good before one of them is added."""
    cdef double weight = head_weight(head)
    cdef const char *stop
    cdef double value
    while True:
        stop = find_byte(p, end, c":")
        if stop == p:
            return EMPTY_VALUE
        if parse_number(p, stop, &value) != stop or not -DBL_MAX <= value <= DBL_MAX:
            return BAD_VALUE
        if not -DBL_MAX <= scaled(head, value) * weight <= DBL_MAX:
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
    cdef double weight = head_weight(head)
    cdef Cell *cell
    cdef const char *stop
    cdef double value
    if time_s != NO_TIME:
        time_ms = clamp_time(shard, time_s * 1000, now_ms)
        bucket = bucket_of(shard, time_ms)
    cell = head_cell(shard, head) if bucket == shard.present else cell_in(shard, bucket, head.series)
    cell.lines += 1
    shard.entries -= bucket.entries
    if head.kind == SET:
        set_add(bucket, <MemberSet *>cell, xxh64(p, end - p))
    else:
        while True:
            stop = find_byte(p, end, c":")
            parse_number(p, stop, &value)
            value = scaled(head, value)
            if head.kind == COUNTER:
                (<Counter *>cell).value += value * weight
            elif head.kind == GAUGE:
                if time_s == NO_TIME and is_delta(head, p[0]):
                    value = moved_gauge(shard, <Gauge *>cell, value, now_ms)
                gauge_add(<Gauge *>cell, value, time_ms)
                gauge_remember(head.series, value, time_ms)
            else:
                distribution_add(bucket, <Distribution *>cell, value, weight)
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
    if base_ms >= 0 and base_ms >= now_ms - shard.core.last_value_ms:
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


# Further samples of one name: agent.protocol.further_samples.split_samples.


cdef bint take_samples(Shard *shard, const char *line, const char *end, int64_t now_ms) noexcept nogil:
    """Takes the lines that a refused line contains; False, and nothing done, if it is only one.

    Two passes, since the first sample is taken only if there is a second.
    """
    cdef const char *colon = find_byte(line, end, c":")
    cdef const char *bar = find_byte(line, end, c"|")
    cdef size_t front
    if colon == end or bar == end or colon == line or colon > bar:
        return False
    colon = name_end(colon, bar, end)
    front = colon + 1 - line
    if front - 1 > shard.core.max_name_bytes or next_sample(colon + 1, end) == NULL:
        return False
    shard.lines -= 1
    take_each_sample(shard, line, front, end, now_ms)
    return True


cdef void take_each_sample(
    Shard *shard, const char *line, size_t front, const char *end, int64_t now_ms
) noexcept nogil:
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
