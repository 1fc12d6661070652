# Columns: rows become bytes, without a Python object per row (agent/wire/frame.py says which bytes).
#
# Owns the numbers of strings and series within a frame, and the order of a row's entries and members.

cdef enum:  # the columns, in the order of the structs in agent/wire/frame.py
    SERIES_NAME
    SERIES_TAG_COUNT
    SERIES_TAG_KEY
    SERIES_TAG_VALUE
    COUNTER_SERIES
    COUNTER_BUCKET
    COUNTER_VALUE
    GAUGE_SERIES
    GAUGE_BUCKET
    GAUGE_LAST_MS
    GAUGE_LAST
    GAUGE_MIN
    GAUGE_MAX
    GAUGE_SUM
    GAUGE_COUNT
    DISTRIBUTION_SERIES
    DISTRIBUTION_BUCKET
    DISTRIBUTION_COUNT
    DISTRIBUTION_SUM
    DISTRIBUTION_SUM_SQUARES
    DISTRIBUTION_MIN
    DISTRIBUTION_MAX
    DISTRIBUTION_ZERO
    POSITIVE_LENGTH
    POSITIVE_INDEX
    POSITIVE_COUNT
    NEGATIVE_LENGTH
    NEGATIVE_INDEX
    NEGATIVE_COUNT
    SET_SERIES
    SET_BUCKET
    SET_LENGTH
    SET_MEMBER
    STRINGS  # msgpack strings, without the head of their list
    COLUMNS
    # bytes of a row before compression, about, as in agent/core/frame_builder.py
    ROW_BYTES = 64
    ENTRY_BYTES = 12
    MEMBER_BYTES = 8
    FEW_ENTRIES = 64  # sorted in place
    ROWS_AHEAD = 16

cdef struct Column:
    char *bytes
    size_t size
    size_t room

cdef struct Text:
    const char *at
    uint32_t size
    uint32_t hash
    uint32_t number  # 0: an empty slot; else one more than the string's number

# One frame in the making, and how far into the flushed buckets the frames before it have come.
cdef struct Framing:
    Bucket *held  # taken from the queue: those of the frame's rows, and last the one that rows are left in
    Bucket *bucket  # that last one; NULL if all held are done
    int kind
    Chunk *chunk
    uint32_t item
    Column columns[COLUMNS]
    PlaceMap series  # of the frame: numbers from 1 on in place of cells
    uint32_t series_count
    Text *texts
    uint32_t texts_mask
    uint32_t string_count
    uint64_t lines  # of the frame's rows
    IndexCount *entries
    size_t entries_room


cdef inline char *column_room(Column *column, size_t size) noexcept nogil:
    """Room for `size` more bytes, taken."""
    cdef size_t start = column.size
    column.size += size
    if unlikely(column.size > column.room):
        column.room = max(column.size * 2, <size_t>1024)
        column.bytes = <char *>take_more(column.bytes, column.room)
    return column.bytes + start


cdef inline void put_32(Framing *framing, int column, uint32_t value) noexcept nogil:
    store_32(column_room(&framing.columns[column], 4), value)


cdef inline void put_64(Framing *framing, int column, uint64_t value) noexcept nogil:
    store_64(column_room(&framing.columns[column], 8), value)


cdef inline void put_float(Framing *framing, int column, double value) noexcept nogil:
    """Sums that overflowed stay at the edge of a float's range; values that are not numbers become 0."""
    cdef uint64_t bits
    value = 0.0 if value != value else min(max(value, -DBL_MAX), DBL_MAX)
    memcpy(&bits, &value, 8)
    put_64(framing, column, bits)


# Strings and series of a frame.


cdef uint32_t string_number(Framing *framing, const char *text, uint32_t size) noexcept nogil:
    """The number of a string in the frame; a new one is added."""
    cdef uint32_t hash = <uint32_t>hash_exactly(text, size, seeds.third)
    cdef uint32_t at
    if framing.string_count * 2 >= framing.texts_mask:
        grow_texts(framing)
    at = hash & framing.texts_mask
    while framing.texts[at].number:
        if framing.texts[at].hash == hash and framing.texts[at].size == size:
            if memcmp(framing.texts[at].at, text, size) == 0:
                return framing.texts[at].number - 1
        at = (at + 1) & framing.texts_mask
    framing.string_count += 1
    framing.texts[at].at = text
    framing.texts[at].size = size
    framing.texts[at].hash = hash
    framing.texts[at].number = framing.string_count
    put_string(&framing.columns[STRINGS], text, size)
    return framing.string_count - 1


cdef void grow_texts(Framing *framing) noexcept nogil:
    cdef Text *before = framing.texts
    cdef uint32_t room = 0 if before == NULL else framing.texts_mask + 1
    cdef uint32_t at
    cdef size_t i
    framing.texts_mask = max(room * 2, <uint32_t>256) - 1
    framing.texts = <Text *>take_zeroed((<size_t>framing.texts_mask + 1) * sizeof(Text))
    for i in range(room):
        if before[i].number:
            at = before[i].hash & framing.texts_mask
            while framing.texts[at].number:
                at = (at + 1) & framing.texts_mask
            framing.texts[at] = before[i]
    free(before)


cdef void put_string(Column *column, const char *text, uint32_t size) noexcept nogil:
    """A string as msgpack has it (msgpack spec, "str format family")."""
    cdef char *at
    cdef int head = 1 if size < 32 else 2 if size < 1 << 8 else 3 if size < 1 << 16 else 5
    at = column_room(column, head + size)
    put_msgpack_head(at, head, 0xA0 | size if head == 1 else 0xD7 + min(head, 4), size)  # 0xD9, 0xDA, 0xDB
    memcpy(at + head, text, size)


cdef void put_msgpack_head(char *at, int head, uint8_t first, uint32_t size) noexcept nogil:
    """The first byte of a msgpack string or array, and its size big-endian in `head - 1` bytes."""
    cdef size_t i
    at[0] = <char>first
    for i in range(1, head):
        at[i] = <char>(size >> (8 * (head - 1 - i)))


cdef uint32_t series_number(Framing *framing, Shard *shard, Series *series) noexcept nogil:
    """The number of a series in the frame; a new one is added."""
    cdef size_t number = <size_t>place_find(&framing.series, series)
    cdef Tag tag
    cdef size_t i
    if number:
        return number - 1
    framing.series_count += 1
    place_put(&framing.series, series, <Cell *><size_t>framing.series_count)
    put_32(framing, SERIES_NAME, string_number(framing, series.text, series.name_bytes))
    store_16(column_room(&framing.columns[SERIES_TAG_COUNT], 2), series.tags)
    for i in range(series.tags):
        tag = tag_of(shard, series, i)
        put_32(framing, SERIES_TAG_KEY, string_number(framing, tag.key, tag.key_bytes))
        put_32(framing, SERIES_TAG_VALUE, string_number(framing, tag.value, tag.value_bytes))
    return framing.series_count - 1


# Rows.


cdef void put_row(Framing *framing, Shard *shard, int kind, Cell *cell, uint32_t start_s) noexcept nogil:
    cdef uint32_t series = series_number(framing, shard, cell.series)
    framing.lines += cell.lines
    if kind == COUNTER:
        put_32(framing, COUNTER_SERIES, series)
        put_32(framing, COUNTER_BUCKET, start_s)
        put_float(framing, COUNTER_VALUE, (<Counter *>cell).value)
    elif kind == GAUGE:
        put_32(framing, GAUGE_SERIES, series)
        put_32(framing, GAUGE_BUCKET, start_s)
        put_gauge(framing, <Gauge *>cell)
    elif kind == DISTRIBUTION:
        put_32(framing, DISTRIBUTION_SERIES, series)
        put_32(framing, DISTRIBUTION_BUCKET, start_s)
        put_distribution(framing, <Distribution *>cell)
    else:
        put_32(framing, SET_SERIES, series)
        put_32(framing, SET_BUCKET, start_s)
        put_members(framing, <MemberSet *>cell)


cdef void put_gauge(Framing *framing, Gauge *gauge) noexcept nogil:
    put_64(framing, GAUGE_LAST_MS, <uint64_t>gauge.last_ms)
    put_float(framing, GAUGE_LAST, gauge.last)
    put_float(framing, GAUGE_MIN, gauge.min)
    put_float(framing, GAUGE_MAX, gauge.max)
    put_float(framing, GAUGE_SUM, gauge.sum)
    put_float(framing, GAUGE_COUNT, <double>gauge.count)


cdef void put_distribution(Framing *framing, Distribution *cell) noexcept nogil:
    cdef size_t count = collect_entries(framing, cell)
    cdef size_t positive = 0
    cdef size_t i
    put_float(framing, DISTRIBUTION_COUNT, cell.count)
    put_float(framing, DISTRIBUTION_SUM, cell.sum)
    put_float(framing, DISTRIBUTION_SUM_SQUARES, cell.sum_squares)
    put_float(framing, DISTRIBUTION_MIN, cell.min)
    put_float(framing, DISTRIBUTION_MAX, cell.max)
    put_float(framing, DISTRIBUTION_ZERO, cell.zero)
    while positive < count and framing.entries[positive].index < NEGATIVE // 2:
        put_32(framing, POSITIVE_INDEX, <uint32_t>framing.entries[positive].index)
        put_float(framing, POSITIVE_COUNT, framing.entries[positive].count)
        positive += 1
    put_32(framing, POSITIVE_LENGTH, positive)
    put_32(framing, NEGATIVE_LENGTH, count - positive)
    for i in range(positive, count):
        put_32(framing, NEGATIVE_INDEX, <uint32_t>(framing.entries[i].index - NEGATIVE))
        put_float(framing, NEGATIVE_COUNT, framing.entries[i].count)


cdef size_t collect_entries(Framing *framing, Distribution *cell) noexcept nogil:
    """The entries of a distribution into `framing.entries`, by index, each once; gives their number."""
    cdef IndexCount *slots = <IndexCount *>cell.indexes
    cdef IndexCount *entries = entries_for(framing, cell.used)
    cdef size_t count = 0
    cdef size_t kept = 0
    cdef size_t i
    if not cell.is_table:
        count = list_to_counts(cell, entries)
    else:
        for i in range(table_slots(cell)):
            if slots[i].index != NO_INDEX:
                entries[count] = slots[i]
                count += 1
    sort_entries(entries, count)
    for i in range(count):
        if kept and entries[kept - 1].index == entries[i].index:
            entries[kept - 1].count += entries[i].count
        else:
            entries[kept] = entries[i]
            kept += 1
    return kept


cdef IndexCount *entries_for(Framing *framing, size_t room) noexcept nogil:
    if framing.entries_room < room:
        framing.entries_room = room * 2
        framing.entries = <IndexCount *>take_more(framing.entries, framing.entries_room * sizeof(IndexCount))
    return framing.entries


cdef void sort_entries(IndexCount *entries, size_t count) noexcept nogil:
    cdef IndexCount entry
    cdef size_t i, j
    if count > FEW_ENTRIES:
        qsort(entries, count, sizeof(IndexCount), &compare_entries)
        return
    for i in range(1, count):
        entry = entries[i]
        j = i
        while j > 0 and entries[j - 1].index > entry.index:
            entries[j] = entries[j - 1]
            j -= 1
        entries[j] = entry


cdef int compare_entries(const void *one, const void *other) noexcept nogil:
    cdef int32_t a = (<const IndexCount *>one).index
    cdef int32_t b = (<const IndexCount *>other).index
    return (a > b) - (a < b)


cdef int compare_members(const void *one, const void *other) noexcept nogil:
    cdef uint64_t a = (<const uint64_t *>one)[0]
    cdef uint64_t b = (<const uint64_t *>other)[0]
    return (a > b) - (a < b)


cdef void put_members(Framing *framing, MemberSet *cell) noexcept nogil:
    """The members of a set, in order; gathered in the entries' room, or where they are."""
    cdef uint64_t *members = <uint64_t *>cell.members
    cdef uint32_t count = 0
    cdef uint32_t i
    if not cell.is_table:
        members = <uint64_t *>entries_for(framing, cell.used)
        count = list_members(cell, members)
    else:
        for i in range(member_slots(cell)):
            if members[i]:
                members[count] = members[i]
                count += 1
    sort_members(members, count)
    put_32(framing, SET_LENGTH, count + cell.has_zero)
    if cell.has_zero:
        put_64(framing, SET_MEMBER, 0)
    for i in range(count):
        put_64(framing, SET_MEMBER, members[i])


cdef void sort_members(uint64_t *members, size_t count) noexcept nogil:
    cdef uint64_t member
    cdef size_t i, j
    if count > FEW_ENTRIES:
        qsort(members, count, sizeof(uint64_t), &compare_members)
        return
    for i in range(1, count):
        member = members[i]
        j = i
        while j > 0 and members[j - 1] > member:
            members[j] = members[j - 1]
            j -= 1
        members[j] = member
