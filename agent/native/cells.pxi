# Cells: the mergeable state of one series in one bucket of 10 s, and the bucket that holds them.
#
# Owns the arithmetic, which agent/cells.py defines: plain additions in order of arrival, of equal values the
# first stays minimum and maximum. One record per cell rather than columns, so that a line touches one or two
# cache lines; columns are made at the flush. Cells never move while their bucket lives.
#
# Most series see few values in 10 s, so a distribution begins as a list of the indexes that came (of weight 1) and
# a set as a list of hashes. A list is a chain of blocks of 32, 64 and 128 bytes, so that growing leaves nothing
# unused behind; when it is full, or a weight is not 1, it turns into a hash table.

cdef enum:
    LIST_BLOCKS = 3
    LIST_FIRST_CLASS = 2  # of an arena: 32 bytes, then two classes on, twice as large
    TABLE_CLASS = 10  # 512 bytes: 32 entries of a distribution, 64 members
    NEGATIVE = 1 << 20  # added to the index of a negative value's bucket: beyond all indexes
    NO_INDEX = -1 << 30

cdef struct Cell:  # what all cells begin with
    Series *series

cdef struct Counter:
    Series *series
    double value

cdef struct Gauge:
    Series *series
    double last
    int64_t last_ms
    double min
    double max
    double sum
    uint64_t count

cdef struct IndexCount:
    double count
    int32_t index

cdef struct ListBlock:
    ListBlock *before
    # then the items

cdef struct Distribution:
    Series *series
    double count
    double sum
    double sum_squares
    double min
    double max
    double zero
    void *indexes  # the last block of a list of int32_t, or a hash table of IndexCount
    uint64_t listed  # a bit for each listed index, which others share: not set means it is surely new
    uint32_t used
    uint8_t blocks  # of the list; 0: none yet
    uint8_t is_table
    uint8_t size_class  # of the table

cdef struct MemberSet:
    Series *series
    void *members  # the last block of a list of uint64_t, or a hash table in which 0 is an empty slot
    uint64_t listed  # as that of a distribution
    uint32_t used  # without the member 0
    uint8_t blocks
    uint8_t is_table
    uint8_t size_class
    uint8_t has_zero

cdef struct Place:
    Series *series
    Cell *cell

# Cells of series that are in another bucket too, found by series.
cdef struct PlaceMap:
    Place *slots
    uint32_t mask
    uint32_t used

cdef struct Bucket:
    Bucket *next
    int64_t start_s
    uint32_t stamp  # each bucket's own; series remember it with their cell
    uint64_t entries  # itself, cells, set members, entries of distributions
    Pieces cells[KINDS]
    Arena arena
    PlaceMap places


cdef inline size_t cell_bytes(int kind) noexcept nogil:
    if kind == COUNTER:
        return sizeof(Counter)
    if kind == GAUGE:
        return sizeof(Gauge)
    return sizeof(Distribution) if kind == DISTRIBUTION else sizeof(MemberSet)


cdef Cell *cell_new(Bucket *bucket, Series *series) noexcept nogil:
    """An empty cell, which holds on to its series."""
    cdef size_t size = cell_bytes(series.kind)
    cdef Cell *cell = <Cell *>pieces_add(&bucket.cells[series.kind], size)
    memset(cell, 0, size)
    cell.series = series
    count_up(&series.holders)
    bucket.entries += 1
    if series.kind == GAUGE:
        (<Gauge *>cell).last_ms = -1
        (<Gauge *>cell).min = INFINITY
        (<Gauge *>cell).max = -INFINITY
    elif series.kind == DISTRIBUTION:
        (<Distribution *>cell).min = INFINITY
        (<Distribution *>cell).max = -INFINITY
    return cell


cdef inline void gauge_add(Gauge *gauge, double value, int64_t time_ms) noexcept nogil:
    if time_ms >= gauge.last_ms:
        gauge.last = value
        gauge.last_ms = time_ms
    if value < gauge.min:
        gauge.min = value
    if value > gauge.max:
        gauge.max = value
    gauge.sum += value
    gauge.count += 1


cdef inline const void *distribution_place(const Distribution *cell, double value) noexcept nogil:
    """Where in memory a value will be counted, most probably."""
    cdef int32_t index
    if not cell.is_table or not value > 0.0:
        return cell.indexes
    index = bucket_index(value)
    return &(<const IndexCount *>cell.indexes)[table_home(index, table_slots(cell))]


cdef inline void distribution_add(Bucket *bucket, Distribution *cell, double value, double weight) noexcept nogil:
    cell.count += weight
    cell.sum += value * weight
    cell.sum_squares += value * value * weight
    if value < cell.min:
        cell.min = value
    if value > cell.max:
        cell.max = value
    if value > 0.0:
        distribution_count(bucket, cell, bucket_index(value), weight)
    elif value < 0.0:
        distribution_count(bucket, cell, bucket_index(-value) + NEGATIVE, weight)
    else:
        cell.zero += weight


# Lists.


cdef inline uint32_t list_room(uint32_t blocks, size_t item_bytes) noexcept nogil:
    """Items that a list of so many blocks holds."""
    return <uint32_t>((((<size_t>32 << blocks) - 32) - blocks * sizeof(ListBlock)) // item_bytes)


cdef inline void *list_add(Arena *arena, void **last, uint8_t *blocks, uint32_t used, size_t item_bytes) noexcept nogil:
    """Room for one more item at the end of a list that is not full."""
    cdef ListBlock *block = <ListBlock *>last[0]
    if used == list_room(blocks[0], item_bytes):
        block = <ListBlock *>arena_take(arena, LIST_FIRST_CLASS + 2 * blocks[0])
        block.before = <ListBlock *>last[0]
        last[0] = block
        blocks[0] += 1
    return <char *>(block + 1) + (used - list_room(blocks[0] - 1, item_bytes)) * item_bytes


cdef void list_give(Arena *arena, void *last, uint32_t blocks) noexcept nogil:
    """Gives the blocks of a list back."""
    cdef ListBlock *block = <ListBlock *>last
    cdef ListBlock *before
    while block != NULL:
        before = block.before
        blocks -= 1
        arena_give(arena, block, LIST_FIRST_CLASS + 2 * blocks)
        block = before


# Entries of distributions.


cdef inline void distribution_count(Bucket *bucket, Distribution *cell, int32_t index, double weight) noexcept nogil:
    if not cell.is_table:
        if weight == 1.0 and cell.used < list_room(LIST_BLOCKS, sizeof(int32_t)):
            bucket.entries += not index_listed(cell, index)
            (<int32_t *>list_add(&bucket.arena, &cell.indexes, &cell.blocks, cell.used, sizeof(int32_t)))[0] = index
            cell.used += 1
            return
        indexes_to_table(bucket, cell)
    table_count(bucket, cell, index, weight)


cdef inline bint index_listed(Distribution *cell, int32_t index) noexcept nogil:
    """Is the index in the list? It will be: most are new, and need no look at blocks far from the cache."""
    cdef uint64_t bit = <uint64_t>1 << ((<uint32_t>index * 0x9E3779B1U) >> 26)
    if cell.listed & bit:
        return index_in_blocks(cell, index)
    cell.listed |= bit
    return False


cdef bint index_in_blocks(Distribution *cell, int32_t index) noexcept nogil:
    cdef ListBlock *block = <ListBlock *>cell.indexes
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef int32_t *items
    cdef bint found = False
    cdef uint32_t i
    while block != NULL:
        blocks -= 1
        items = <int32_t *>(block + 1)
        for i in range(end - list_room(blocks, sizeof(int32_t))):
            found |= items[i] == index
        end = list_room(blocks, sizeof(int32_t))
        block = block.before
    return found


cdef uint32_t list_to_counts(Distribution *cell, IndexCount *counts) noexcept nogil:
    """The listed indexes, each counted once, into `counts`; gives their number."""
    cdef ListBlock *block = <ListBlock *>cell.indexes
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint32_t start, i
    while block != NULL:
        blocks -= 1
        start = list_room(blocks, sizeof(int32_t))
        for i in range(start, end):
            counts[i].index = (<int32_t *>(block + 1))[i - start]
            counts[i].count = 1.0
        end = start
        block = block.before
    return cell.used


cdef void indexes_to_table(Bucket *bucket, Distribution *cell) noexcept nogil:
    """Turns the list into a hash table."""
    cdef IndexCount listed[64]
    cdef uint32_t count = list_to_counts(cell, listed)
    cdef uint64_t entries = bucket.entries
    cdef uint32_t i
    list_give(&bucket.arena, cell.indexes, cell.blocks)
    cell.is_table = True
    cell.used = 0
    cell.size_class = TABLE_CLASS - 4 if count < 4 else TABLE_CLASS
    cell.indexes = table_new(bucket, cell.size_class)
    for i in range(count):
        table_count(bucket, cell, listed[i].index, 1.0)
    bucket.entries = entries


cdef inline uint32_t table_home(int32_t index, uint32_t capacity) noexcept nogil:
    return <uint32_t>((<uint64_t>(<uint32_t>index * 0x9E3779B1U) * capacity) >> 32)


cdef inline uint32_t table_slots(const Distribution *cell) noexcept nogil:
    return <uint32_t>(class_bytes(cell.size_class) // sizeof(IndexCount))


cdef IndexCount *table_new(Bucket *bucket, int size_class) noexcept nogil:
    cdef IndexCount *slots = <IndexCount *>arena_take(&bucket.arena, size_class)
    cdef size_t i
    for i in range(class_bytes(size_class) // sizeof(IndexCount)):
        slots[i].index = NO_INDEX
    return slots


cdef inline IndexCount *table_find(IndexCount *slots, uint32_t capacity, int32_t index) noexcept nogil:
    """The slot of an index, or the empty one where it belongs."""
    cdef uint32_t at = table_home(index, capacity)
    while slots[at].index != index and slots[at].index != NO_INDEX:
        at = (at + 1) & (capacity - 1)
    return &slots[at]


cdef inline void table_count(Bucket *bucket, Distribution *cell, int32_t index, double weight) noexcept nogil:
    cdef uint32_t capacity = table_slots(cell)
    cdef IndexCount *slot = table_find(<IndexCount *>cell.indexes, capacity, index)
    if slot.index == index:
        slot.count += weight
        return
    if (cell.used + 1) * 4 > capacity * 3:
        table_grow(bucket, cell, capacity)
        slot = table_find(<IndexCount *>cell.indexes, capacity * 2, index)
    slot.index = index
    slot.count = weight
    cell.used += 1
    bucket.entries += 1


cdef void table_grow(Bucket *bucket, Distribution *cell, uint32_t capacity) noexcept nogil:
    cdef IndexCount *before = <IndexCount *>cell.indexes
    cdef IndexCount *slots = table_new(bucket, cell.size_class + 2)
    cdef size_t i
    for i in range(capacity):
        if before[i].index != NO_INDEX:
            table_find(slots, capacity * 2, before[i].index)[0] = before[i]
    arena_give(&bucket.arena, before, cell.size_class)
    cell.indexes = slots
    cell.size_class += 2


# Members of sets.


cdef void set_add(Bucket *bucket, MemberSet *cell, uint64_t member) noexcept nogil:
    cdef uint32_t at
    if member == 0:
        bucket.entries += not cell.has_zero
        cell.has_zero = True
        return
    if not cell.is_table:
        if member_listed(cell, member):
            return
        if cell.used < list_room(LIST_BLOCKS, sizeof(uint64_t)):
            (<uint64_t *>list_add(&bucket.arena, &cell.members, &cell.blocks, cell.used, sizeof(uint64_t)))[0] = member
            cell.used += 1
            bucket.entries += 1
            return
        members_to_table(bucket, cell)
    at = member_place(<uint64_t *>cell.members, member_slots(cell), member)
    if (<uint64_t *>cell.members)[at] == member:
        return
    if (cell.used + 1) * 4 > member_slots(cell) * 3:
        members_grow(bucket, cell)
        at = member_place(<uint64_t *>cell.members, member_slots(cell), member)
    (<uint64_t *>cell.members)[at] = member
    cell.used += 1
    bucket.entries += 1


cdef inline bint member_listed(MemberSet *cell, uint64_t member) noexcept nogil:
    """Is the member in the list? It will be, or the list turns into a table."""
    cdef uint64_t bit = <uint64_t>1 << (member >> 58)
    if cell.listed & bit:
        return member_in_blocks(cell, member)
    cell.listed |= bit
    return False


cdef bint member_in_blocks(MemberSet *cell, uint64_t member) noexcept nogil:
    cdef ListBlock *block = <ListBlock *>cell.members
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint64_t *items
    cdef uint32_t i
    while block != NULL:
        blocks -= 1
        items = <uint64_t *>(block + 1)
        for i in range(end - list_room(blocks, sizeof(uint64_t))):
            if items[i] == member:
                return True
        end = list_room(blocks, sizeof(uint64_t))
        block = block.before
    return False


cdef uint32_t list_members(MemberSet *cell, uint64_t *members) noexcept nogil:
    """The members of a list into `members`; gives their number."""
    cdef ListBlock *block = <ListBlock *>cell.members
    cdef uint32_t blocks = cell.blocks
    cdef uint32_t end = cell.used
    cdef uint32_t start
    while block != NULL:
        blocks -= 1
        start = list_room(blocks, sizeof(uint64_t))
        memcpy(members + start, block + 1, (end - start) * sizeof(uint64_t))
        end = start
        block = block.before
    return cell.used


cdef inline uint32_t member_slots(MemberSet *cell) noexcept nogil:
    return <uint32_t>(class_bytes(cell.size_class) // sizeof(uint64_t))


cdef inline uint32_t member_place(uint64_t *slots, uint32_t capacity, uint64_t member) noexcept nogil:
    """The slot of a member, or the empty one where it belongs.

    It depends on a secret: XXH64 does not, and who knows it can make members that collide.
    """
    cdef uint64_t at
    multiply_128(member * (seeds.first | 1), capacity, &at)
    while slots[at] and slots[at] != member:
        at = (at + 1) & (capacity - 1)
    return <uint32_t>at


cdef void members_to_table(Bucket *bucket, MemberSet *cell) noexcept nogil:
    """Turns the list into a hash table."""
    cdef uint64_t listed[32]
    cdef uint32_t count = list_members(cell, listed)
    list_give(&bucket.arena, cell.members, cell.blocks)
    cell.is_table = True
    cell.size_class = TABLE_CLASS
    cell.members = members_new(bucket, cell.size_class, listed, count)


cdef void members_grow(Bucket *bucket, MemberSet *cell) noexcept nogil:
    cdef void *before = cell.members
    cell.members = members_new(bucket, cell.size_class + 2, <uint64_t *>before, member_slots(cell))
    arena_give(&bucket.arena, before, cell.size_class)
    cell.size_class += 2


cdef void *members_new(Bucket *bucket, int size_class, const uint64_t *members, uint32_t count) noexcept nogil:
    """A hash table of members, of which some may be 0: no member."""
    cdef uint64_t *slots = <uint64_t *>arena_take(&bucket.arena, size_class)
    cdef uint32_t capacity = <uint32_t>(class_bytes(size_class) // sizeof(uint64_t))
    cdef uint32_t i
    memset(slots, 0, class_bytes(size_class))
    for i in range(count):
        if members[i]:
            slots[member_place(slots, capacity, members[i])] = members[i]
    return slots


cdef Cell *place_find(PlaceMap *places, Series *series) noexcept nogil:
    cdef uint32_t at
    if places.used == 0:
        return NULL
    at = place_home(places, series)
    while places.slots[at].series != NULL:
        if places.slots[at].series == series:
            return places.slots[at].cell
        at = (at + 1) & places.mask
    return NULL


cdef inline uint32_t place_home(PlaceMap *places, Series *series) noexcept nogil:
    return <uint32_t>((<uint64_t><size_t>series * <uint64_t>0x9E3779B97F4A7C15U) >> 32) & places.mask


cdef void place_put(PlaceMap *places, Series *series, Cell *cell) noexcept nogil:
    """Remembers a series' cell, once or again."""
    cdef Place *before = places.slots
    cdef uint32_t capacity = 0 if before == NULL else places.mask + 1
    cdef size_t i
    if places.used * 2 >= capacity:
        places.slots = <Place *>take_zeroed(max(capacity * 2, <uint32_t>16) * sizeof(Place))
        places.mask = max(capacity * 2, <uint32_t>16) - 1
        places.used = 0
        for i in range(capacity):
            if before[i].series != NULL:
                place_insert(places, before[i].series, before[i].cell)
        free(before)
    place_insert(places, series, cell)


cdef void place_insert(PlaceMap *places, Series *series, Cell *cell) noexcept nogil:
    cdef uint32_t at = place_home(places, series)
    while places.slots[at].series != NULL and places.slots[at].series != series:
        at = (at + 1) & places.mask
    places.used += places.slots[at].series == NULL
    places.slots[at].series = series
    places.slots[at].cell = cell


cdef Bucket *bucket_new(int64_t start_s, uint32_t stamp) noexcept nogil:
    cdef Bucket *bucket = <Bucket *>take_zeroed(sizeof(Bucket))
    bucket.start_s = start_s
    bucket.stamp = stamp
    bucket.entries = 1
    return bucket


cdef void pieces_release(Pieces *pieces, size_t item_bytes) noexcept nogil:
    """Frees the first piece; its cells let go of their series."""
    cdef Chunk *chunk = pieces.first
    cdef size_t i
    for i in range(chunk.used):
        count_down(&(<Cell *>(chunk_items(chunk) + i * item_bytes)).series.holders)
    pieces_drop_first(pieces, item_bytes)


cdef void bucket_free(Bucket *bucket) noexcept nogil:
    """Frees a bucket; what cells are left let go of their series."""
    cdef int kind
    for kind in range(KINDS):
        while bucket.cells[kind].first != NULL:
            pieces_release(&bucket.cells[kind], cell_bytes(kind))
    arena_free(&bucket.arena)
    free(bucket.places.slots)
    free(bucket)


cdef inline uint64_t bucket_cells(Bucket *bucket) noexcept nogil:
    return (
        bucket.cells[COUNTER].count + bucket.cells[GAUGE].count
        + bucket.cells[DISTRIBUTION].count + bucket.cells[SET].count
    )


cdef inline uint64_t bucket_bytes(Bucket *bucket) noexcept nogil:
    cdef uint64_t size = sizeof(Bucket) + bucket.arena.bytes
    cdef int kind
    for kind in range(KINDS):
        size += bucket.cells[kind].bytes
    if bucket.places.slots != NULL:
        size += (<uint64_t>bucket.places.mask + 1) * sizeof(Place)
    return size
