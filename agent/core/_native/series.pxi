# Heads and series: which lines are the same.
#
# A *head* is a line without its value and time, byte for byte as sent: the key of the quick table. A *series*
# is its meaning: type, name, sorted tags, the static ones too. Heads that only differ in spelling (order of
# tags, sample rate, `|c:`) share a series. A series points into the text of its first head where it can.
#
# Owns the layout of both, and finding and making both. generations.pxi says how long they stay.

cdef enum:
    # Of a tag in the text of a series: how many bits say where its key begins, and how long that is.
    WIDE_OFFSET_BITS = 26
    WIDE_LENGTH_BITS = 17
    NARROW_OFFSET_BITS = 13
    NARROW_LENGTH_BITS = 7
    NARROW_VALUE_BITS = 10
    SERIES_BYTES = 44  # without the room after `flags`
    HEAD_BYTES = 34
    HEAD_FOUND = 1 << 0  # flags of a head: it is in the table
    HEAD_TEXT = 1 << 1  # a series points into its key
    HEAD_EXTRA = 1 << 2  # there is a HeadExtra after its key
    HEAD_SLOW = 1 << 3  # something of its lines is to be counted or dropped
    HEAD_FACTORS = 1 << 4  # its HeadExtra has the weight or factor of its values
    HEAD_FOREIGN = 1 << 5  # its lines are for the first shard
    HEAD_PLUS = 1 << 6  # a gauge's value with a `+` is a delta
    HEAD_MINUS = 1 << 7  # a gauge's value with a `-` is a delta
    SERIES_OWN_TEXT = 1 << 0
    SERIES_WIDE = 1 << 1  # its slices have 8 bytes
    SERIES_DELTAS = 1 << 2  # a gauge whose last value a delta may need
    SERIES_OVERFLOW = 1 << 3  # its lines are of series beyond a limit

cdef struct Series:
    uint32_t hash  # an Entry
    uint32_t holders  # cells that point here, also of buckets that were flushed
    char *text  # of its own, or the key of a head
    Cell *cell  # in the bucket with this stamp
    uint32_t stamp
    uint32_t heads
    uint32_t turn  # of its last use
    uint32_t name_bytes
    uint16_t tags
    uint8_t kind
    uint8_t flags
    # then, at SERIES_BYTES, its slices: 4 or 8 bytes for each tag, from the lowest bit on its flags, the
    # offset of its key, the key's length and the value's; the value comes one byte after the key.
    # Then, of a gauge, its GaugeMemory.

cdef struct GaugeMemory:
    double last
    int64_t last_ms  # -1: none

cdef struct Head:
    uint32_t hash  # an Entry
    uint32_t key_bytes
    Series *series
    Cell *cell  # in the bucket with this stamp
    uint32_t stamp
    uint32_t turn  # of its last use
    uint8_t kind
    uint8_t flags
    # then, at HEAD_BYTES, the key, and after it, with HEAD_EXTRA, a HeadExtra

cdef struct HeadExtra:
    double weight
    double scale
    double divisor
    uint32_t ignored[IGNORED_KINDS]

cdef inline char *head_key(Head *head) noexcept nogil:
    return <char *>head + HEAD_BYTES


cdef inline Head *head_of_key(char *key) noexcept nogil:
    return <Head *>(key - HEAD_BYTES)


cdef inline size_t round_up_8(size_t size) noexcept nogil:
    return (size + 7) & ~<size_t>7


cdef inline HeadExtra *head_extra(Head *head) noexcept nogil:
    return <HeadExtra *>(<char *>head + round_up_8(HEAD_BYTES + head.key_bytes))


cdef inline double head_weight(Head *head) noexcept nogil:
    return head_extra(head).weight if unlikely(head.flags & HEAD_FACTORS) else 1.0


cdef inline double scaled(Head *head, double value) noexcept nogil:
    """A value as it is kept, of one that was sent: agent/protocol/line.py `MetricKey.scaled`."""
    if unlikely(head.flags & HEAD_FACTORS):
        return value / head_extra(head).divisor * head_extra(head).scale
    return value


cdef inline bint is_delta(Head *head, char sign) noexcept nogil:
    """Does the first byte of a gauge's value make it a delta?"""
    return (sign == c"-" and head.flags & HEAD_MINUS != 0) or (sign == c"+" and head.flags & HEAD_PLUS != 0)


cdef inline size_t head_size_of(uint32_t key_bytes, bint extra) noexcept nogil:
    if not extra:
        return HEAD_BYTES + key_bytes
    return round_up_8(HEAD_BYTES + key_bytes) + sizeof(HeadExtra)


cdef inline size_t head_size(Head *head) noexcept nogil:
    return head_size_of(head.key_bytes, head.flags & HEAD_EXTRA != 0)


cdef inline size_t slices_end(uint32_t tags, bint wide) noexcept nogil:
    """Where the slices of a series end."""
    return SERIES_BYTES + tags * (8 if wide else 4)


cdef inline GaugeMemory *series_gauge(Series *series) noexcept nogil:
    return <GaugeMemory *>(<char *>series + round_up_8(slices_end(series.tags, series.flags & SERIES_WIDE)))


cdef inline size_t series_bytes(int kind, uint32_t tags, bint wide) noexcept nogil:
    cdef size_t end = slices_end(tags, wide)
    return end if kind != GAUGE else round_up_8(end) + sizeof(GaugeMemory)


cdef inline bint slice_is_wide(Tag *tag) noexcept nogil:
    """Is it too much for 4 bytes, wherever its key begins?"""
    return tag.key_bytes >= 1 << NARROW_LENGTH_BITS or tag.value_bytes >= 1 << NARROW_VALUE_BITS


cdef inline Tag tag_of(Shard *shard, Series *series, uint32_t number) noexcept nogil:
    cdef const char *slices = <const char *>series + SERIES_BYTES
    cdef bint wide = flags_now(&series.flags) & SERIES_WIDE
    cdef int offset_bits = WIDE_OFFSET_BITS if wide else NARROW_OFFSET_BITS
    cdef int length_bits = WIDE_LENGTH_BITS if wide else NARROW_LENGTH_BITS
    cdef uint64_t slice = load_64(slices + 8 * number) if wide else load_32(slices + 4 * number)
    cdef Tag tag
    tag.flags = slice & 3
    slice >>= 2
    tag.key = shard.core.static_text if tag.flags & SLICE_STATIC else series.text
    tag.key += slice & ((1 << offset_bits) - 1)
    slice >>= offset_bits
    tag.key_bytes = slice & ((1 << length_bits) - 1)
    tag.value_bytes = slice >> length_bits
    tag.value = tag.key + tag.key_bytes + 1
    if tag.flags & SLICE_BARE:
        tag.value = BARE_VALUE
        tag.value_bytes = 4
    return tag


cdef void put_slice(Series *series, uint32_t number, Tag *tag, const char *text) noexcept nogil:
    """`text`: the text that holds the tag's key."""
    cdef char *slices = <char *>series + SERIES_BYTES
    cdef bint wide = flags_now(&series.flags) & SERIES_WIDE
    cdef uint64_t slice = 0 if tag.flags & SLICE_BARE else tag.value_bytes
    slice = (slice << (WIDE_LENGTH_BITS if wide else NARROW_LENGTH_BITS)) | tag.key_bytes
    slice = (slice << (WIDE_OFFSET_BITS if wide else NARROW_OFFSET_BITS)) | <uint64_t>(tag.key - text)
    slice = (slice << 2) | tag.flags
    if wide:
        store_64(slices + 8 * number, slice)
    else:
        store_32(slices + 4 * number, <uint32_t>slice)


# Finding heads.


cdef inline bint head_is(
    Head *head, const char *name, size_t name_bytes, const char *rest, size_t rest_bytes
) noexcept nogil:
    cdef char *key = head_key(head)
    return (
        head.key_bytes == name_bytes + rest_bytes
        and memcmp(key, name, name_bytes) == 0
        and memcmp(key + name_bytes, rest, rest_bytes) == 0
    )


cdef Head *head_find(
    Table *table, uint64_t hash, const char *name, size_t name_bytes, const char *rest, size_t rest_bytes
) noexcept nogil:
    """The head with this key, dead or alive, or NULL."""
    cdef Segment *segment = segment_of(table, hash)
    cdef uint32_t at = <uint32_t>hash & segment.mask
    cdef uint64_t slot
    while True:
        slot = segment.slots[at]
        if slot == 0:
            return NULL
        if slot >> SLOT_TAG_SHIFT == hash >> SLOT_TAG_SHIFT:
            if head_is(<Head *>slot_entry(slot), name, name_bytes, rest, rest_bytes):
                return <Head *>slot_entry(slot)
        at = (at + 1) & segment.mask


cdef inline Head *head_guess(Table *table, uint64_t hash) noexcept nogil:
    """The first head whose hash looks right, or NULL: to be fetched ahead, and looked at later."""
    cdef Segment *segment = segment_of(table, hash)
    cdef uint32_t at = <uint32_t>hash & segment.mask
    cdef uint64_t slot
    while True:
        slot = segment.slots[at]
        if slot == 0 or slot >> SLOT_TAG_SHIFT == hash >> SLOT_TAG_SHIFT:
            return <Head *>slot_entry(slot)
        at = (at + 1) & segment.mask


# Series: one for all heads that mean the same.


cdef uint64_t series_hash(
    int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    cdef uint64_t hash = hash_exactly(name, name_bytes, seeds.third + kind)
    cdef size_t i
    for i in range(count):
        hash = hash_exactly(tags[i].key, tags[i].key_bytes, hash)
        hash = hash_exactly(tags[i].value, tags[i].value_bytes, hash)
    return fold(hash, seeds.second)


cdef bint series_is(
    Shard *shard, Series *series, int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    cdef Tag tag
    cdef size_t i
    if series.kind != kind or series.tags != count or series.name_bytes != name_bytes:
        return False
    if memcmp(series.text, name, name_bytes) != 0:
        return False
    for i in range(count):
        tag = tag_of(shard, series, i)
        if tag.key_bytes != tags[i].key_bytes or tag.value_bytes != tags[i].value_bytes:
            return False
        if memcmp(tag.key, tags[i].key, tag.key_bytes) != 0:
            return False
        if memcmp(tag.value, tags[i].value, tag.value_bytes) != 0:
            return False
    return True


cdef Series *series_find(
    Shard *shard, int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    """The series of these, or NULL."""
    return series_at(shard, series_hash(kind, name, name_bytes, tags, count), kind, name, name_bytes, tags, count)


cdef Series *series_at(
    Shard *shard, uint64_t hash, int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    cdef Segment *segment = segment_of(&shard.series, hash)
    cdef uint32_t at = <uint32_t>hash & segment.mask
    cdef Series *series
    while segment.slots[at]:
        if segment.slots[at] >> SLOT_TAG_SHIFT == hash >> SLOT_TAG_SHIFT:
            series = <Series *>slot_entry(segment.slots[at])
            if series_is(shard, series, kind, name, name_bytes, tags, count):
                return series
        at = (at + 1) & segment.mask
    return NULL


cdef Series *series_intern(
    Shard *shard, Head *head, int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    """The series of a head, found or made. `head`: NULL if name and tags do not stand in its key."""
    cdef uint64_t hash = series_hash(kind, name, name_bytes, tags, count)
    cdef Series *series = series_at(shard, hash, kind, name, name_bytes, tags, count)
    if series != NULL:
        series_revive(shard, series)
        series.heads += 1
        return series
    series = series_new(shard, head, kind, name, name_bytes, tags, count)
    table_put(&shard.series, hash, <Entry *>series)
    count_series(shard, series.text, series.name_bytes)
    shard.new_series += 1
    return series


cdef void series_revive(Shard *shard, Series *series) noexcept nogil:
    """A series that only waits to be swept is a new one: it has the value that would have been kept of it."""
    if series.kind == GAUGE and series.turn + 1 < shard.turn and count_now(&series.holders) == 0:
        if not has_last_value(series) or shard.core.max_last_values == 0:
            flags_put(&series.flags, <uint8_t>(series.flags & ~SERIES_DELTAS))
            series_gauge(series).last_ms = -1


cdef Series *series_new(
    Shard *shard, Head *head, int kind, const char *name, size_t name_bytes, Tag *tags, uint32_t count
) noexcept nogil:
    cdef size_t text_bytes = head.key_bytes if head != NULL else text_bytes_of(name_bytes, tags, count)
    cdef bint wide = max(text_bytes, shard.core.static_bytes) >= 1 << NARROW_OFFSET_BITS
    cdef size_t size
    cdef Series *series
    cdef const char *text
    cdef size_t i
    for i in range(count):
        wide |= slice_is_wide(&tags[i])
    size = series_bytes(kind, count, wide)
    series = <Series *>take_zeroed(size)
    series.kind = kind
    series.flags = SERIES_WIDE if wide else 0
    series.tags = count
    series.name_bytes = name_bytes
    series.heads = 1
    if head != NULL:
        series.text = head_key(head)
        head.flags |= HEAD_TEXT
        for i in range(count):
            text = shard.core.static_text if tags[i].flags & SLICE_STATIC else series.text
            put_slice(series, i, &tags[i], text)
    else:
        series_own_text(series, name, text_bytes, tags)
        size += text_bytes
    if kind == GAUGE:
        series_recall_value(shard, series)
    shard.series_bytes += size
    return series


cdef size_t text_bytes_of(size_t name_bytes, Tag *tags, uint32_t count) noexcept nogil:
    """Bytes of a text that has name and tags, and nothing else."""
    cdef size_t size = name_bytes
    cdef size_t i
    for i in range(count):
        size += tags[i].key_bytes + 1 + tags[i].value_bytes
    return size


cdef void series_own_text(Series *series, const char *name, size_t text_bytes, Tag *tags) noexcept nogil:
    """Copies name and tags to a text of the series' own."""
    cdef char *at = <char *>take(text_bytes + 1)
    cdef Tag tag
    cdef size_t i
    series.text = at
    flags_put(&series.flags, <uint8_t>(series.flags | SERIES_OWN_TEXT))
    memcpy(at, name, series.name_bytes)
    at += series.name_bytes
    for i in range(series.tags):
        tag = tags[i]
        tag.key = at
        tag.flags = 0
        memcpy(at, tags[i].key, tag.key_bytes)
        at += tag.key_bytes + 1
        memcpy(at, tags[i].value, tag.value_bytes)
        at += tag.value_bytes
        put_slice(series, i, &tag, series.text)


cdef size_t own_text_bytes(Shard *shard, Series *series) noexcept nogil:
    cdef size_t size = series.name_bytes
    cdef Tag tag
    cdef size_t i
    for i in range(series.tags):
        tag = tag_of(shard, series, i)
        size += tag.key_bytes + 1 + tag.value_bytes
    return size
