# Cells: the mergeable state of one series in one bucket of 10 s, and the bucket that holds them.
#
# Owns the arithmetic, which agent/aggregate/state.py defines: plain additions in order of arrival, of equal values the
# first stays minimum and maximum. One record per cell rather than columns, so that a line touches one or two
# cache lines; columns are made at the flush. Cells never move while their bucket lives.

cdef enum:
    LIST_BLOCKS = 3
    LIST_FIRST_CLASS = 2  # of an arena: 32 bytes, then two classes on, twice as large
    TABLE_CLASS = 10  # 512 bytes: 32 entries of a distribution, 64 members
    NEGATIVE = 1 << 20  # added to the index of a negative value's bucket: beyond all indexes
    NO_INDEX = -1 << 30

cdef struct Cell:  # the first fields of all cells
    Series *series
    uint32_t lines  # that were added to it

cdef struct Counter:
    Series *series
    uint32_t lines
    double value

cdef struct Gauge:
    Series *series
    uint32_t lines
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
    uint32_t lines
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
    uint32_t lines
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

# Cells found by series.
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
    bint scattered  # it may have cells that their series do not point to, since those went on
    PlaceMap places  # of all such cells, made when somebody looks for the first of them


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


cdef inline void distribution_add(
    Bucket *bucket, Distribution *cell, double value, double weight
) noexcept nogil:
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


cdef Cell *bucket_find(Bucket *bucket, Series *series) noexcept nogil:
    """The cell of a series that points to another bucket's, or to none; NULL if there is none here.

    Only late lines and clocks set back ask, so the map is not made before: it would cost each first line of a
    series in a bucket that begins before the last one was flushed, and 16 to 32 bytes for each of them.
    """
    if not bucket.scattered:
        return NULL
    if bucket.places.slots == NULL:
        places_of_cells(bucket)
    return place_find(&bucket.places, series)


cdef void bucket_scatter(Bucket *bucket, Series *series, Cell *cell) noexcept nogil:
    """The series of a cell points to another one, or will."""
    bucket.scattered = True
    if bucket.places.slots != NULL:
        place_put(&bucket.places, series, cell)


cdef void places_of_cells(Bucket *bucket) noexcept nogil:
    """Makes the map, of all cells of the bucket."""
    cdef PlaceMap *places = &bucket.places
    cdef uint64_t cells = bucket_cells(bucket)
    cdef Chunk *chunk
    cdef Cell *cell
    cdef size_t i
    cdef int kind
    places.mask = 15
    while places.mask < cells * 2:
        places.mask = places.mask * 2 + 1
    places.slots = <Place *>take_zeroed((<size_t>places.mask + 1) * sizeof(Place))
    for kind in range(KINDS):
        chunk = bucket.cells[kind].first
        while chunk != NULL:
            for i in range(chunk.used):
                cell = <Cell *>(chunk_items(chunk) + i * cell_bytes(kind))
                place_insert(places, cell.series, cell)
            chunk = chunk.next


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
    """Frees a bucket; its remaining cells let go of their series."""
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
