# Heads of lines: type, sample rate, tags. Once per new head; agent/protocol/line.py `parse_head` is the definition.
#
# Owns the grammar after the value, the tag styles in names, and the bounds of both. A head's parts
# point into its key; nothing is copied.

cdef enum:
    COUNTER = 0
    GAUGE = 1
    DISTRIBUTION = 2
    SET = 3
    KINDS = 4
    NO_KIND = 4

cdef enum:  # reasons to refuse a line, in the order of agent.protocol.line.Reason
    NO_VALUE
    EMPTY_NAME
    EMPTY_VALUE
    BAD_VALUE
    NO_TYPE
    UNKNOWN_TYPE
    BAD_SAMPLE_RATE
    BAD_TIMESTAMP
    INVALID_UTF8
    LINE_TOO_LONG
    NAME_TOO_LONG
    TAG_TOO_LONG
    TOO_MANY_TAGS
    MIXED_TAG_STYLES
    CONTROL_CHARACTER
    REASONS
    GOOD = -1
    FOREIGN = -2  # not refused, but for the first shard

cdef enum:  # the order of agent.protocol.line.Ignored
    UNKNOWN_FIELD
    EMPTY_TAG
    DUPLICATE_TAG
    MALFORMED_TAG
    IGNORED_KINDS

cdef enum:  # of tags
    SLICE_STATIC = 1 << 0  # of the settings; its text is the core's
    SLICE_BARE = 1 << 1  # sent without a value

cdef enum:  # settings `name_tags`
    INFLUX = 1
    LIBRATO = 2
    SIGNALFX = 4

cdef enum:  # signs of a gauge's value that make it a delta: agent.protocol.line.delta_signs
    NO_DELTAS
    PLUS_DELTAS
    SIGNED_DELTAS
    AUTO_DELTAS  # of a setting: as the marks of a line say

cdef const char *BARE_VALUE = "true"

cdef struct Tag:
    const char *key
    const char *value
    uint32_t key_bytes
    uint32_t value_bytes
    uint32_t flags  # SLICE_STATIC, SLICE_BARE

cdef struct Parts:
    int kind
    double weight
    double scale
    bint marked  # it has a field that only DogStatsD has
    int deltas
    double divisor
    uint32_t ignored[IGNORED_KINDS]
    const char *name
    size_t name_bytes
    const char *name_end  # the place of a second part of the name (SignalFx), and its size
    size_t name_end_bytes
    Tag *tags  # room for max_tags and the static ones
    uint32_t count


cdef inline const char *find_byte(const char *p, const char *end, char byte) noexcept nogil:
    """The first `byte`, or `end`."""
    cdef const char *found = <const char *>memchr(p, byte, end - p) if p < end else NULL
    return end if found == NULL else found


cdef inline bint starts(const char *p, const char *end, const char *text, size_t size) noexcept nogil:
    return <size_t>(end - p) >= size and memcmp(p, text, size) == 0


cdef int parse_head(
    Shard *shard, const char *key, size_t name_bytes, size_t key_bytes, Parts *parts
) noexcept nogil:
    """The parts of a head from its key, `name|type|fields`; GOOD, or the reason to refuse the line."""
    cdef const char *end = key + key_bytes
    cdef const char *field = key + name_bytes + 1
    cdef const char *stop = find_byte(field, end, c"|")
    cdef int refused
    memset(parts.ignored, 0, sizeof(parts.ignored))
    parts.count = 0
    parts.weight = 1.0
    parts.scale = 1.0
    parts.marked = False
    parts.divisor = 1.0
    parts.name = key
    parts.name_bytes = name_bytes
    parts.name_end_bytes = 0
    parts.kind = kind_of(field, stop)
    if parts.kind == NO_KIND:
        return UNKNOWN_TYPE
    if stop - field == 2:  # `ms`
        parts.divisor = shard.core.timer_divisor
    if shard.core.name_tags:
        refused = read_name_tags(shard, parts, stop, end)
        if refused != GOOD:
            return refused
    if parts.name_bytes + parts.name_end_bytes > shard.core.max_name_bytes:
        return NAME_TOO_LONG
    while stop < end:
        field = stop + 1
        stop = find_byte(field, end, c"|")
        refused = read_field(shard, parts, field, stop)
        if refused != GOOD:
            return refused
    if not is_whole_utf8(parts):
        return INVALID_UTF8
    if not shard.core.control_characters and has_control_character_in_name(parts):
        return CONTROL_CHARACTER
    parts.deltas = shard.core.gauge_deltas
    if parts.deltas == AUTO_DELTAS:
        parts.deltas = NO_DELTAS if parts.marked else SIGNED_DELTAS
    if parts.kind == GAUGE or parts.kind == SET:
        parts.weight = 1.0
    return GOOD


cdef inline int kind_of(const char *p, const char *end) noexcept nogil:
    if end - p == 1:
        if p[0] == c"c" or p[0] == c"m":
            return COUNTER
        if p[0] == c"g":
            return GAUGE
        if p[0] == c"d" or p[0] == c"h":
            return DISTRIBUTION
        if p[0] == c"s":
            return SET
    elif end - p == 2 and p[0] == c"m" and p[1] == c"s":
        return DISTRIBUTION
    return NO_KIND


cdef int read_field(Shard *shard, Parts *parts, const char *p, const char *end) noexcept nogil:
    if p < end and p[0] == c"#":
        parts.marked = True
        return read_tags(shard, parts, p + 1, end, c":")
    if p < end and p[0] == c"@":
        return GOOD if read_rate(p + 1, end, &parts.weight) else BAD_SAMPLE_RATE
    if starts(p, end, "c:", 2) or starts(p, end, "e:", 2) or starts(p, end, "card:", 5):
        parts.marked = True
    else:
        parts.ignored[UNKNOWN_FIELD] += 1
    return GOOD


cdef bint read_rate(const char *p, const char *end, double *weight) noexcept nogil:
    cdef double rate
    if parse_number(p, end, &rate) != end or not 0.0 < rate <= 1.0 or 1.0 / rate > DBL_MAX:
        return False
    weight[0] = 1.0 / rate
    return True


cdef bint is_whole_utf8(Parts *parts) noexcept nogil:
    """Is the name UTF-8? Its two parts stand around ASCII, but joined they may be something else."""
    cdef char *joined
    cdef bint good
    if parts.name_end_bytes == 0:
        return is_utf8(parts.name, parts.name_bytes)
    joined = <char *>take(parts.name_bytes + parts.name_end_bytes)
    join_name(parts, joined)
    good = is_utf8(joined, parts.name_bytes + parts.name_end_bytes)
    free(joined)
    return good


cdef bint has_control_character(const char *p, size_t size) noexcept nogil:
    """Return whether UTF-8 text has a character of Unicode's category Cc."""
    cdef size_t i
    cdef uint8_t byte
    for i in range(size):
        byte = <uint8_t>p[i]
        if byte < 0x20 or byte == 0x7F:
            return True
        if byte == 0xC2 and i + 1 < size and <uint8_t>p[i + 1] < 0xA0:
            return True
    return False


cdef bint has_control_character_in_name(Parts *parts) noexcept nogil:
    """The same of a name, whose two parts must not be looked at alone: UTF-8 may stand across them."""
    cdef char *joined
    cdef bint found
    if parts.name_end_bytes == 0:
        return has_control_character(parts.name, parts.name_bytes)
    joined = <char *>take(parts.name_bytes + parts.name_end_bytes)
    join_name(parts, joined)
    found = has_control_character(joined, parts.name_bytes + parts.name_end_bytes)
    free(joined)
    return found


cdef void join_name(Parts *parts, char *name) noexcept nogil:
    memcpy(name, parts.name, parts.name_bytes)
    memcpy(name + parts.name_bytes, parts.name_end, parts.name_end_bytes)


cdef int read_name_tags(Shard *shard, Parts *parts, const char *fields, const char *end) noexcept nogil:
    """Tags in the name; `fields .. end` follows the type. See agent.protocol.line.split_name_tags."""
    cdef const char *name_end = parts.name + parts.name_bytes
    cdef const char *start
    cdef const char *stop
    cdef int refused
    if shard.core.name_tags & SIGNALFX:
        start, stop = find_byte(parts.name, name_end, c"["), find_byte(parts.name, name_end, c"]")
        if start < stop and stop < name_end:
            parts.name_bytes = start - parts.name
            parts.name_end = stop + 1
            parts.name_end_bytes = name_end - parts.name_end
            return read_tags_of_name(shard, parts, start + 1, stop, fields, end)
        if start < name_end or stop < name_end:
            parts.ignored[MALFORMED_TAG] += 1
            return GOOD
    start = parts.name
    while start < name_end:
        if (start[0] == c"#" and shard.core.name_tags & LIBRATO) or (
            start[0] == c"," and shard.core.name_tags & INFLUX
        ):
            parts.name_bytes = start - parts.name
            return read_tags_of_name(shard, parts, start + 1, name_end, fields, end)
        start += 1
    return GOOD


cdef int read_tags_of_name(
    Shard *shard, Parts *parts, const char *p, const char *stop, const char *fields, const char *end
) noexcept nogil:
    cdef int refused = read_tags(shard, parts, p, stop, c"=")
    if refused != GOOD:
        return refused
    if parts.count and memmem(fields, end - fields, "|#", 2) != NULL:
        return MIXED_TAG_STYLES
    return GOOD if parts.name_bytes + parts.name_end_bytes else EMPTY_NAME


cdef int read_tags(Shard *shard, Parts *parts, const char *p, const char *end, char separator) noexcept nogil:
    """Adds the tags of one section, separated by commas."""
    cdef const char *stop
    cdef int refused
    while True:
        stop = find_byte(p, end, c",")
        if separator == c":" and p < stop and p[0] == c"#":
            p += 1
        if p < stop:
            refused = read_tag(shard, parts, p, stop, separator)
            if refused != GOOD:
                return refused
        if stop == end:
            return GOOD
        p = stop + 1


cdef int read_tag(Shard *shard, Parts *parts, const char *p, const char *end, char separator) noexcept nogil:
    cdef Tag tag
    cdef Tag *same
    cdef const char *found
    if <size_t>(end - p) > shard.core.max_tag_bytes:
        return TAG_TOO_LONG
    if not is_utf8(p, end - p):
        return INVALID_UTF8
    found = find_byte(p, end, separator)
    if found == p or found + 1 == end:
        parts.ignored[EMPTY_TAG] += 1
        return GOOD
    if not shard.core.control_characters and has_control_character(p, found - p):
        return CONTROL_CHARACTER
    if found == end and separator == c"=":
        parts.ignored[MALFORMED_TAG] += 1
        return GOOD
    tag.key = p
    tag.key_bytes = found - p
    tag.flags = SLICE_BARE if found == end else 0
    tag.value = BARE_VALUE if found == end else found + 1
    tag.value_bytes = 4 if found == end else end - found - 1
    same = tag_find(parts.tags, parts.count, &tag)
    if same != NULL:
        parts.ignored[DUPLICATE_TAG] += 1
        same[0] = tag
    elif parts.count >= shard.core.max_tags:
        return TOO_MANY_TAGS
    else:
        parts.tags[parts.count] = tag
        parts.count += 1
    return GOOD


cdef Tag *tag_find(Tag *tags, uint32_t count, Tag *wanted) noexcept nogil:
    """The tag with the same key, or NULL."""
    cdef size_t i
    for i in range(count):
        if tags[i].key_bytes == wanted.key_bytes and memcmp(tags[i].key, wanted.key, wanted.key_bytes) == 0:
            return &tags[i]
    return NULL


cdef void complete_tags(Shard *shard, Parts *parts) noexcept nogil:
    """Adds the static tags that the line does not have, and sorts all by key."""
    cdef uint32_t sent = parts.count
    cdef size_t i
    for i in range(shard.core.static_count):
        if tag_find(parts.tags, sent, &shard.core.static_tags[i]) == NULL:
            parts.tags[parts.count] = shard.core.static_tags[i]
            parts.count += 1
    sort_tags(parts.tags, parts.count)


cdef void sort_tags(Tag *tags, uint32_t count) noexcept nogil:
    """By key. UTF-8 sorts as its code points do, so this is the order of Python's strings."""
    cdef uint32_t i, j
    cdef Tag tag
    if count > 32:
        qsort(tags, count, sizeof(Tag), &compare_tags)
        return
    for i in range(1, count):
        tag = tags[i]
        j = i
        while j > 0 and compare_tags(&tag, &tags[j - 1]) < 0:
            tags[j] = tags[j - 1]
            j -= 1
        tags[j] = tag


cdef int compare_tags(const void *one, const void *other) noexcept nogil:
    cdef const Tag *a = <const Tag *>one
    cdef const Tag *b = <const Tag *>other
    cdef int order = memcmp(a.key, b.key, min(a.key_bytes, b.key_bytes))
    if order == 0:
        order = (a.key_bytes > b.key_bytes) - (a.key_bytes < b.key_bytes)
    return order


# New heads.


cdef Head *head_make(
    Shard *shard, uint64_t hash, const char *name, size_t name_bytes, const char *rest, size_t rest_bytes,
    int *refused,
) noexcept nogil:
    """Parses and remembers a head that is not known, or is dead; NULL if the line is to be refused."""
    cdef size_t size = name_bytes + rest_bytes
    cdef char *key = room(&shard.key, size)
    cdef Parts *parts = &shard.parts
    cdef uint64_t before = shard.new_series
    cdef Head *head
    memcpy(key, name, name_bytes)
    memcpy(key + name_bytes, rest, rest_bytes)
    refused[0] = parse_head(shard, key, name_bytes, size, parts)
    if refused[0] != GOOD:
        return NULL
    head = head_find(&shard.heads, hash, name, name_bytes, rest, rest_bytes)
    if shard.core.mapper != NULL:
        head = map_head(shard, hash, head, key, name_bytes, size, parts)
    else:
        head = head_of_parts(shard, hash, head, key, size, parts)
    if shard.new_series != before:
        count_client(shard, shard.new_series - before)
    return head


cdef Head *head_of_parts(
    Shard *shard, uint64_t hash, Head *dead, const char *key, size_t size, Parts *parts
) noexcept nogil:
    """The head of parts that stand in its key."""
    cdef Head *head
    complete_tags(shard, parts)
    head = beyond_head(shard, parts)
    if unlikely(head != NULL):
        return head
    head = head_place(shard, hash, dead, key, size, parts)
    head_settle(shard, head, parts, series_of_parts(shard, head, key, parts))
    return head


cdef Head *head_place(
    Shard *shard, uint64_t hash, Head *dead, const char *key, size_t key_bytes, Parts *parts
) noexcept nogil:
    """The head for a key: a new one in the table, or the dead one of that key, to be used again."""
    cdef Head *head = dead
    cdef bint extra = not is_plain(parts) or has_factors(parts) or shard.core.mapper != NULL
    if head == NULL:
        head = <Head *>take_zeroed(head_size_of(key_bytes, extra))
        head.key_bytes = key_bytes
        head.flags = HEAD_FOUND | HEAD_EXTRA if extra else HEAD_FOUND
        memcpy(head_key(head), key, key_bytes)
        shard.head_bytes += head_size(head)
        table_put(&shard.heads, hash, <Entry *>head)
    return head


cdef void head_settle(Shard *shard, Head *head, Parts *parts, Series *series) noexcept nogil:
    """Gives a head its meaning; `series`: NULL if its lines are dropped."""
    cdef Series *before = head.series
    head.kind = parts.kind
    head.stamp = 0
    head.series = series
    head.flags &= ~(HEAD_SLOW | HEAD_FACTORS | HEAD_FOREIGN | HEAD_PLUS | HEAD_MINUS)
    head.flags |= HEAD_PLUS if parts.deltas != NO_DELTAS else 0
    head.flags |= HEAD_MINUS if parts.deltas == SIGNED_DELTAS else 0
    if series != NULL and series.kind == GAUGE and parts.deltas != NO_DELTAS:
        if not series.flags & (SERIES_OVERFLOW | SERIES_DELTAS):
            flags_put(&series.flags, <uint8_t>(series.flags | SERIES_DELTAS))
    if series == NULL or series.flags & SERIES_OVERFLOW or not is_plain(parts):
        head.flags |= HEAD_SLOW
    if head.flags & HEAD_EXTRA:
        head_extra(head).weight = parts.weight
        head_extra(head).scale = parts.scale
        head_extra(head).divisor = parts.divisor
        head.flags |= HEAD_FACTORS if has_factors(parts) else 0
        memcpy(head_extra(head).ignored, parts.ignored, sizeof(parts.ignored))
    series_let_go(shard, before)
    head_put(shard, head)


cdef bint is_plain(Parts *parts) noexcept nogil:
    cdef size_t i
    for i in range(IGNORED_KINDS):
        if parts.ignored[i]:
            return False
    return True


cdef bint has_factors(Parts *parts) noexcept nogil:
    return parts.weight != 1.0 or parts.scale != 1.0 or parts.divisor != 1.0


cdef Series *series_of_parts(Shard *shard, Head *head, const char *key, Parts *parts) noexcept nogil:
    """The series of parsed parts, which stand in `key`: the head has the same text."""
    cdef char *name
    cdef Series *series
    cdef ptrdiff_t moved = head_key(head) - key
    cdef size_t i
    if parts.name_end_bytes:  # a name in two parts is not to be found in the key
        name = <char *>take(parts.name_bytes + parts.name_end_bytes)
        join_name(parts, name)
        series = series_intern(
            shard, NULL, parts.kind, name, parts.name_bytes + parts.name_end_bytes, parts.tags, parts.count
        )
        free(name)
        return series
    for i in range(parts.count):
        if not parts.tags[i].flags & SLICE_STATIC:
            parts.tags[i].key += moved
            if not parts.tags[i].flags & SLICE_BARE:
                parts.tags[i].value += moved
    return series_intern(shard, head, parts.kind, head_key(head), parts.name_bytes, parts.tags, parts.count)
