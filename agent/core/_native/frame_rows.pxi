# Frames: how far the flushed buckets have come, and which of their rows share a frame.
#
# As agent/core/frame_builder.py. Runs without any shard's lock while receivers run: flushed buckets change no
# more, and a cell holds on to its series. Buckets leave piece by piece, so that a flush of many series does
# not need its memory twice.


cdef uint32_t fill_frame(Core *core, uint64_t max_rows, uint64_t max_bytes) noexcept nogil:
    """Fills the columns with the next rows of flushed buckets; gives their number.

    At least one row, if there is any; then no more than `max_rows`, and about `max_bytes`.
    """
    cdef Framing *framing = &core.framing
    cdef Shard *shard = &core.shards[0]
    cdef uint64_t rows = 0
    cdef uint64_t size = 0
    cdef uint64_t row_bytes
    cdef Cell *cell = next_cell(core)
    framing_begin(framing)
    while cell != NULL:
        row_bytes = cell_row_bytes(shard, cell)
        if rows and (rows >= max_rows or size + row_bytes > max_bytes):
            break
        put_row(framing, shard, framing.kind, cell, <uint32_t>framing.bucket.start_s)
        rows += 1
        size += row_bytes
        framing.item += 1
        cell = next_cell(core)
    return rows


cdef Cell *next_cell(Core *core) noexcept nogil:
    """The first cell that is in no frame yet; NULL if nothing is left."""
    cdef Framing *framing = &core.framing
    while True:
        if framing.bucket == NULL and not take_flushed(core):
            return NULL
        while framing.kind < KINDS:
            if framing.chunk != NULL and framing.item < framing.chunk.used:
                fetch_series(framing.chunk, framing.item, cell_bytes(framing.kind))
                return <Cell *>(chunk_items(framing.chunk) + framing.item * cell_bytes(framing.kind))
            framing.item = 0
            if framing.chunk != NULL and framing.chunk.next != NULL:
                framing.chunk = framing.chunk.next
            else:
                framing.kind += 1
                framing.chunk = framing.bucket.cells[framing.kind].first if framing.kind < KINDS else NULL
        framing.bucket = NULL


cdef inline void fetch_series(Chunk *chunk, uint32_t item, size_t item_bytes) noexcept nogil:
    """Asks for the series of cells further on, and for the text of nearer ones."""
    cdef Series *series
    if item + ROWS_AHEAD < chunk.used:
        series = (<Cell *>(chunk_items(chunk) + (item + ROWS_AHEAD) * item_bytes)).series
        prefetch_read(series)
        prefetch_read(<char *>series + 64)
        series = (<Cell *>(chunk_items(chunk) + (item + ROWS_AHEAD // 2) * item_bytes)).series
        prefetch_read(series.text)
        prefetch_read(series.text + 64)


cdef bint take_flushed(Core *core) noexcept nogil:
    """Takes the next bucket from the queue; False if there is none."""
    cdef Framing *framing = &core.framing
    cdef Bucket **tail = &framing.held
    cdef Bucket *bucket
    pthread_mutex_lock(&core.flushed_lock)
    bucket = core.flushed_first
    if bucket != NULL:
        core.flushed_first = bucket.next
        bucket.next = NULL
    pthread_mutex_unlock(&core.flushed_lock)
    if bucket == NULL:
        return False
    while tail[0] != NULL:
        tail = &tail[0].next
    tail[0] = framing.bucket = bucket
    framing.kind = 0
    framing.item = 0
    framing.chunk = bucket.cells[0].first
    return True


cdef size_t cell_row_bytes(Shard *shard, Cell *cell) noexcept nogil:
    """Bytes of a row and its series' strings, about."""
    cdef Series *series = cell.series
    cdef size_t size = ROW_BYTES + series.name_bytes
    cdef Tag tag
    cdef size_t i
    for i in range(series.tags):
        tag = tag_of(shard, series, i)
        size += tag.key_bytes + tag.value_bytes + 8
    if series.kind == DISTRIBUTION:
        return size + ENTRY_BYTES * (<Distribution *>cell).used
    if series.kind == SET:
        return size + MEMBER_BYTES * (<MemberSet *>cell).used
    return size


cdef void free_framed(Core *core) noexcept nogil:
    """Frees the rows that are in frames now; at the end of the queue the columns, too."""
    cdef Framing *framing = &core.framing
    cdef Bucket *bucket
    cdef int kind
    while framing.held != framing.bucket:
        bucket = framing.held
        framing.held = bucket.next
        total_add(&core.flushed_entries, -<int64_t>bucket.entries)
        total_add(&core.flushed_bytes, -<int64_t>bucket_bytes(bucket))
        bucket_free(bucket)
    if framing.bucket == NULL:
        framing_free(framing)
        return
    for kind in range(framing.kind + 1):
        while framing.bucket.cells[kind].first != NULL and (
            kind < framing.kind or framing.bucket.cells[kind].first != framing.chunk
        ):
            drop_framed(core, framing.bucket, kind)


cdef void drop_framed(Core *core, Bucket *bucket, int kind) noexcept nogil:
    """Frees the first piece of a kind's cells."""
    cdef int64_t cells = bucket.cells[kind].first.used
    cdef int64_t before = bucket_bytes(bucket)
    pieces_release(&bucket.cells[kind], cell_bytes(kind))
    bucket.entries -= cells
    total_add(&core.flushed_entries, -cells)
    total_add(&core.flushed_bytes, <int64_t>bucket_bytes(bucket) - before)


cdef void framing_begin(Framing *framing) noexcept nogil:
    cdef size_t i
    for i in range(COLUMNS):
        framing.columns[i].size = 0
    if framing.series.used:
        memset(framing.series.slots, 0, (<size_t>framing.series.mask + 1) * sizeof(Place))
        framing.series.used = 0
    if framing.string_count:
        memset(framing.texts, 0, (<size_t>framing.texts_mask + 1) * sizeof(Text))
    framing.series_count = 0
    framing.string_count = 0
    framing.lines = 0


cdef void framing_free(Framing *framing) noexcept nogil:
    """Gives back the memory of one flush."""
    cdef size_t i
    for i in range(COLUMNS):
        free(framing.columns[i].bytes)
    free(framing.series.slots)
    free(framing.texts)
    free(framing.entries)
    memset(framing, 0, sizeof(Framing))
