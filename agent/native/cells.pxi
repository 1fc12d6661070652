# Cells: the mergeable state of one series in one bucket of 10 s, and the bucket that holds them.
#
# Owns the arithmetic, which agent/cells.py defines: plain additions in order of arrival, of equal values the
# first stays minimum and maximum. One record per cell rather than columns, so that a line touches one or two
# cache lines; columns are made at the flush. Cells never move while their bucket lives.
#
# A distribution begins as a list of the indexes that came (weight 1, most series see few values in 10 s) and
# turns into a hash map of counts when the list is long or a weight is not 1. A set is a list of hashes that
# turns into a hash set.

cdef enum:
    LIST_INDEXES = 64  # then a distribution's list turns into a map
    LIST_MEMBERS = 8  # the same for a set
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

cdef struct Distribution:
    Series *series
    double count
    double sum
    double sum_squares
    double min
    double max
    double zero
    void *indexes  # int32_t each, or a hash map of IndexCount
    uint32_t used
    int8_t size_class  # of `indexes`; -1: none yet
    bint is_map

cdef struct MemberSet:
    Series *series
    uint64_t *members  # a list, or from LIST_MEMBERS on a hash set in which 0 is an empty slot
    uint32_t used  # without the member 0
    int8_t size_class
    bint has_zero

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
        (<Distribution *>cell).size_class = -1
    elif series.kind == SET:
        (<MemberSet *>cell).size_class = -1
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


cdef inline void distribution_count(Bucket *bucket, Distribution *cell, int32_t index, double weight) noexcept nogil:
    if not cell.is_map:
        if weight == 1.0 and cell.used < LIST_INDEXES:
            list_index(bucket, cell, index)
            return
        indexes_to_map(bucket, cell)
    map_count(bucket, cell, index, weight)


cdef inline void list_index(Bucket *bucket, Distribution *cell, int32_t index) noexcept nogil:
    cdef int32_t *indexes = <int32_t *>cell.indexes
    cdef bint known = False
    cdef uint32_t i
    for i in range(cell.used):
        known |= indexes[i] == index
    bucket.entries += not known
    if cell.size_class < 0 or cell.used * sizeof(int32_t) == class_bytes(cell.size_class):
        indexes = <int32_t *>arena_take(&bucket.arena, cell.size_class + 1)
        if cell.size_class >= 0:
            memcpy(indexes, cell.indexes, cell.used * sizeof(int32_t))
            arena_give(&bucket.arena, cell.indexes, cell.size_class)
        cell.indexes = indexes
        cell.size_class += 1
    indexes[cell.used] = index
    cell.used += 1


cdef void indexes_to_map(Bucket *bucket, Distribution *cell) noexcept nogil:
    """Turns the list into a map."""
    cdef int32_t *indexes = <int32_t *>cell.indexes
    cdef int8_t size_class = cell.size_class
    cdef uint32_t listed = cell.used
    cdef uint64_t entries = bucket.entries
    cdef size_t i
    cell.is_map = True
    cell.used = 0
    cell.size_class = 4  # 64 bytes: 4 slots
    cell.indexes = map_new(bucket, cell.size_class)
    for i in range(listed):
        map_count(bucket, cell, indexes[i], 1.0)
    if size_class >= 0:
        arena_give(&bucket.arena, indexes, size_class)
    bucket.entries = entries


cdef IndexCount *map_new(Bucket *bucket, int8_t size_class) noexcept nogil:
    cdef IndexCount *slots = <IndexCount *>arena_take(&bucket.arena, size_class)
    cdef size_t i
    for i in range(class_bytes(size_class) // sizeof(IndexCount)):
        slots[i].index = NO_INDEX
    return slots


cdef inline IndexCount *map_find(IndexCount *slots, uint32_t capacity, int32_t index) noexcept nogil:
    """The slot of an index, or the empty one where it belongs."""
    cdef uint32_t at = <uint32_t>((<uint64_t>(<uint32_t>index * 0x9E3779B1U) * capacity) >> 32)
    while slots[at].index != index and slots[at].index != NO_INDEX:
        at = (at + 1) & (capacity - 1)
    return &slots[at]


cdef inline void map_count(Bucket *bucket, Distribution *cell, int32_t index, double weight) noexcept nogil:
    cdef uint32_t capacity = class_bytes(cell.size_class) // sizeof(IndexCount)
    cdef IndexCount *slot = map_find(<IndexCount *>cell.indexes, capacity, index)
    if slot.index == index:
        slot.count += weight
        return
    if (cell.used + 1) * 4 > capacity * 3:
        map_grow(bucket, cell, capacity)
        slot = map_find(<IndexCount *>cell.indexes, capacity * 2, index)
    slot.index = index
    slot.count = weight
    cell.used += 1
    bucket.entries += 1


cdef void map_grow(Bucket *bucket, Distribution *cell, uint32_t capacity) noexcept nogil:
    cdef IndexCount *before = <IndexCount *>cell.indexes
    cdef IndexCount *slots = map_new(bucket, cell.size_class + 2)
    cdef size_t i
    for i in range(capacity):
        if before[i].index != NO_INDEX:
            map_find(slots, capacity * 2, before[i].index)[0] = before[i]
    arena_give(&bucket.arena, before, cell.size_class)
    cell.indexes = slots
    cell.size_class += 2


cdef void set_add(Bucket *bucket, MemberSet *cell, uint64_t member) noexcept nogil:
    cdef uint32_t capacity, at
    if member == 0:
        bucket.entries += not cell.has_zero
        cell.has_zero = True
        return
    capacity = 0 if cell.size_class < 0 else class_bytes(cell.size_class) // sizeof(uint64_t)
    at = set_find(cell.members, capacity, cell.used, member)
    if at < capacity and (capacity > LIST_MEMBERS or at < cell.used) and cell.members[at] == member:
        return
    if cell.used == capacity or (capacity > LIST_MEMBERS and (cell.used + 1) * 4 > capacity * 3):
        capacity = set_grow(bucket, cell, capacity)
        at = set_find(cell.members, capacity, cell.used, member)
    cell.members[at] = member
    cell.used += 1
    bucket.entries += 1


cdef inline uint32_t set_find(uint64_t *members, uint32_t capacity, uint32_t used, uint64_t member) noexcept nogil:
    """Where the member is or belongs; `capacity` if a full list does not hold it."""
    cdef uint32_t at = 0
    if capacity <= LIST_MEMBERS:
        while at < used and members[at] != member:
            at += 1
        return at
    at = set_home(member, capacity)
    while members[at] and members[at] != member:
        at = (at + 1) & (capacity - 1)
    return at


cdef inline uint32_t set_home(uint64_t member, uint32_t capacity) noexcept nogil:
    """A slot that depends on a secret: XXH64 does not, and who knows it can make members that collide."""
    cdef uint64_t high
    multiply_128(member * (seeds.first | 1), capacity, &high)
    return <uint32_t>high


cdef uint32_t set_grow(Bucket *bucket, MemberSet *cell, uint32_t capacity) noexcept nogil:
    """Twice the room; a list of LIST_MEMBERS turns into a hash set."""
    cdef int8_t size_class = 0 if capacity == 0 else cell.size_class + 2
    cdef uint32_t more = class_bytes(size_class) // sizeof(uint64_t)
    cdef uint64_t *members = <uint64_t *>arena_take(&bucket.arena, size_class)
    cdef uint64_t *before = cell.members
    cdef size_t i
    if more <= LIST_MEMBERS:
        memcpy(members, before, cell.used * sizeof(uint64_t))
    else:
        memset(members, 0, more * sizeof(uint64_t))
        for i in range(capacity):
            if before[i]:
                members[set_find(members, more, 0, before[i])] = before[i]
    if capacity:
        arena_give(&bucket.arena, before, cell.size_class)
    cell.members = members
    cell.size_class = size_class
    return more


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
