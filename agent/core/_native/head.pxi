# Heads of lines: type and sample rate. Once per new head; agent/protocol/line.py `parse_metric_key` is the definition.
#
# Owns the grammar after the value, and the bound of names; tags.pxi reads the tags. A head's parts
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
