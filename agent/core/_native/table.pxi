# The tables of heads and of series: open addressing, in 256 segments that grow each for itself.
#
# Owns finding a place; its content (an `Entry` and the bytes after it) is the caller's. A slot is one word:
# 16 bits of the hash beside a 48-bit address, so a lookup touches an entry only if those bits agree. Because
# a segment holds one 256th of all, growing never stops the receiver for more than a fraction of a millisecond.
# Entries are taken out by moving the rest of their run up: there are no gravestones.

cdef enum:
    SEGMENTS = 256
    SEGMENT_FIRST_SLOTS = 8
    SLOT_TAG_SHIFT = 48

cdef struct Entry:  # the beginning of heads and series
    uint32_t hash  # the low half: 8 bits of segment, 24 of place

cdef struct Segment:
    uint64_t *slots
    uint32_t mask
    uint32_t used

cdef struct Table:
    Segment segments[SEGMENTS]
    uint64_t count
    uint64_t bytes


cdef inline Segment *segment_of(Table *table, uint64_t hash) noexcept nogil:
    return &table.segments[<uint32_t>hash >> 24]


cdef inline uint64_t *table_place(Table *table, uint64_t hash) noexcept nogil:
    """Where looking for a hash begins."""
    cdef Segment *segment = segment_of(table, hash)
    return &segment.slots[<uint32_t>hash & segment.mask]


cdef inline Entry *slot_entry(uint64_t slot) noexcept nogil:
    return <Entry *><size_t>(slot & ((<uint64_t>1 << SLOT_TAG_SHIFT) - 1))


cdef void table_open(Table *table) noexcept nogil:
    cdef size_t i
    memset(table, 0, sizeof(Table))
    for i in range(SEGMENTS):
        segment_resize(table, &table.segments[i], SEGMENT_FIRST_SLOTS)


cdef void table_close(Table *table) noexcept nogil:
    cdef size_t i
    for i in range(SEGMENTS):
        free(table.segments[i].slots)


cdef void table_put(Table *table, uint64_t hash, Entry *entry) noexcept nogil:
    """Adds an entry that is not there yet, and sets its `hash`."""
    cdef Segment *segment = segment_of(table, hash)
    cdef uint32_t capacity = segment.mask + 1
    if (segment.used + 1) * 16 > capacity * 13:
        segment_resize(table, segment, capacity * 2)
    entry.hash = <uint32_t>hash
    segment_put(segment, entry.hash, (hash & ~((<uint64_t>1 << SLOT_TAG_SHIFT) - 1)) | <size_t>entry)
    segment.used += 1
    table.count += 1


cdef inline void segment_put(Segment *segment, uint32_t hash, uint64_t slot) noexcept nogil:
    cdef uint32_t at = hash & segment.mask
    while segment.slots[at]:
        at = (at + 1) & segment.mask
    segment.slots[at] = slot


cdef void segment_resize(Table *table, Segment *segment, uint32_t capacity) noexcept nogil:
    cdef uint64_t *slots = segment.slots
    cdef uint32_t before = 0 if slots == NULL else segment.mask + 1
    cdef size_t i
    segment.slots = <uint64_t *>take_zeroed(capacity * sizeof(uint64_t))
    segment.mask = capacity - 1
    for i in range(before):
        if slots[i]:
            segment_put(segment, slot_entry(slots[i]).hash, slots[i])
    free(slots)
    table.bytes += (<uint64_t>capacity - before) * sizeof(uint64_t)


cdef void table_remove(Table *table, Entry *entry) noexcept nogil:
    """Takes an entry out that is there."""
    cdef Segment *segment = segment_of(table, entry.hash)
    cdef uint32_t at = entry.hash & segment.mask
    while slot_entry(segment.slots[at]) != entry:
        at = (at + 1) & segment.mask
    segment_remove_at(segment, at)
    table.count -= 1


cdef void segment_remove_at(Segment *segment, uint32_t hole) noexcept nogil:
    """Empties a slot and closes the gap: an entry further on moves up if it was pushed past the hole."""
    cdef uint32_t mask = segment.mask
    cdef uint32_t at = hole
    cdef uint32_t home
    while True:
        at = (at + 1) & mask
        if not segment.slots[at]:
            break
        home = slot_entry(segment.slots[at]).hash & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            segment.slots[hole] = segment.slots[at]
            hole = at
    segment.slots[hole] = 0
    segment.used -= 1


cdef void segment_shrink(Table *table, Segment *segment) noexcept nogil:
    """Gives memory back once a segment is all but empty."""
    cdef uint32_t capacity = segment.mask + 1
    while capacity > SEGMENT_FIRST_SLOTS and segment.used * 8 < capacity:
        capacity //= 2
    if capacity <= segment.mask:
        segment_resize(table, segment, capacity)
