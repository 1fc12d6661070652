# Shards: one receiver's share of the core, and the parts that all of them share.
#
# Owns the locks, the open buckets and the flush. A shard is all that one receiving thread changes, under one
# lock that it holds for a batch of packets; with one receiver there is one shard. Gauges of all threads go
# to the first shard, because deltas need one order. A flush takes the finished buckets' addresses under each
# lock, never a walk; the thread that makes frames reads them afterwards without any.
#
# Locks, in this order: a shard's `lock`, then the core's `flushed_lock`. No thread holds two shards' locks.

cdef enum:
    SKIP_EVENT
    SKIP_SERVICE_CHECK
    SKIP_MAPPING
    SKIPS
    MOST_TIME_DIGITS = 15
    NO_TIME = -1
    SHOWN_BYTES = 160  # of a refused line: agent.aggregate.aggregator
    TRIM_BYTES = 2 << 20
    THREADS_APART_MS = 1000  # two threads' batches at most; more is a clock that was set back

cdef struct Room:
    char *bytes
    size_t size

cdef struct ForeignLine:
    const char *line
    uint32_t size

cdef struct Shard:
    pthread_mutex_t lock
    Core *core
    Table heads
    Table series
    Table metrics
    Clients clients
    const Origin *origin  # of the lines that are being added
    const char *packet_line  # the line that is being added, in its packet; its samples are read from copies
    uint64_t new_series  # those made, and lines beyond a limit
    Head *overflow  # for one line whose series is beyond a limit
    Bucket *present  # one of the open ones, or `nowhere`
    Bucket *nowhere
    Bucket **open  # by start, oldest first
    int open_count
    int open_room
    uint32_t last_stamp
    int64_t flushed_ms
    int64_t latest_ms  # of the last batch
    uint64_t entries  # of the open buckets
    uint64_t entries_shown  # the same, for readers without the lock
    uint64_t series_bytes
    uint64_t head_bytes
    uint32_t turn
    int64_t turn_ms
    uint64_t young_heads
    uint64_t young_weight  # of them: long ones count several times
    uint64_t old_heads
    uint64_t unswept_heads  # that got young since slots were swept, while there is something to sweep
    uint64_t young_series
    uint64_t old_series
    int sweeps  # still to be done
    uint32_t sweep_segment
    uint32_t sweep_slot
    uint64_t swept_bytes  # freed since memory was given back to the system
    Parts parts
    LastValues young_values
    LastValues old_values
    Room key
    Room text
    Room untimed
    Room sample
    Room lines_in
    ForeignLine *foreign
    int foreign_count
    int foreign_room
    uint64_t lines
    uint64_t bad[REASONS]
    int refused_reason  # of the last refused line
    uint32_t refused_bytes  # 0: it was taken
    char refused_line[SHOWN_BYTES]
    uint64_t skipped[SKIPS]
    uint64_t ignored[IGNORED_KINDS]
    uint64_t clamped_old
    uint64_t clamped_future
    uint64_t overflow_lines
    uint64_t forgotten_heads
    uint64_t forgotten_values

cdef struct Core:
    int64_t lateness_ms
    int64_t future_ms
    int64_t gauge_memory_ms
    int64_t last_value_ms
    uint64_t max_last_values  # of one generation
    uint64_t max_entries
    uint64_t max_series  # of one shard
    uint64_t max_metric_series  # of one shard; 0: no limit
    uint64_t max_total_series  # of one shard; 0: no limit
    uint32_t max_line_bytes
    uint32_t max_name_bytes
    uint32_t max_tags
    uint32_t max_tag_bytes
    int name_tags
    int gauge_deltas
    bint control_characters
    double timer_divisor
    char *static_text
    Tag *static_tags
    uint32_t static_count
    uint32_t static_bytes  # of static_text
    void *mapper  # a Mapping that NativeCore owns, or NULL
    Shard *shards
    int shard_count
    uint64_t early_flushes
    uint64_t clock_base_ms  # signed; receivers add it to the steady clock
    uint64_t longest_stop_ns
    pthread_mutex_t flushed_lock
    Bucket *flushed_first  # waiting to become frames
    Bucket *flushed_last
    uint64_t flushed_entries
    uint64_t flushed_bytes
    pthread_mutex_t framing_lock  # one frame after the other
    Framing framing


cdef char *room(Room *room, size_t size) noexcept nogil:
    """A buffer for `size` bytes, readable a little further; the last content is lost."""
    if room.size < size:
        free(room.bytes)
        room.size = max(size * 2, <size_t>256)
        room.bytes = <char *>take_zeroed(room.size + SCAN_BEYOND)
    elif room.size > MAPPED_BYTES and size < room.size // 8:
        free(room.bytes)
        room.size = max(size * 2, <size_t>256)
        room.bytes = <char *>take_zeroed(room.size + SCAN_BEYOND)
    return room.bytes


cdef void shard_open(Shard *shard, Core *core) noexcept nogil:
    pthread_mutex_init(&shard.lock, NULL)
    shard.core = core
    table_open(&shard.heads)
    table_open(&shard.series)
    table_open(&shard.metrics)
    shard.overflow = <Head *>take_zeroed(head_size_of(0, True))
    shard.nowhere = bucket_new(-1, 0)
    shard.present = shard.nowhere
    shard.flushed_ms = -1
    shard.turn = 2  # so that turn 0, of slots never used, is dead
    shard.parts.tags = <Tag *>take((core.max_tags + core.static_count + 1) * sizeof(Tag))


cdef void shard_close(Shard *shard) noexcept nogil:
    cdef size_t i
    for i in range(shard.open_count):
        bucket_free(shard.open[i])
    bucket_free(shard.nowhere)
    let_overflow_go(shard)
    shard.turn += 3  # all are dead
    shard.sweeps = 2
    while shard.sweeps:
        shard_sweep(shard, IDLE_SWEEP_SLOTS)
    table_close(&shard.heads)
    table_close(&shard.series)
    table_close(&shard.metrics)
    free(shard.overflow)
    free(shard.open)
    free(shard.parts.tags)
    free(shard.young_values.slots)
    free(shard.old_values.slots)
    free(shard.key.bytes)
    free(shard.text.bytes)
    free(shard.untimed.bytes)
    free(shard.sample.bytes)
    free(shard.lines_in.bytes)
    free(shard.foreign)
    pthread_mutex_destroy(&shard.lock)


# Buckets.


cdef int64_t shard_begin(Shard *shard, int64_t now_ms) noexcept nogil:
    """Makes the bucket of the time the present one; gives the time to use."""
    cdef Bucket *bucket
    if shard.core.shard_count > 1 and 0 < shard.latest_ms - now_ms <= THREADS_APART_MS:
        now_ms = shard.latest_ms  # another thread was quicker: the value added last is to be the last value
    shard.latest_ms = now_ms
    if now_ms == shard.flushed_ms:
        now_ms += 1  # so that which value of a gauge is the last is never left open between two flushes
    bucket = bucket_of(shard, now_ms)
    if bucket != shard.present:
        shard.present = bucket
        shard_tick(shard, now_ms)
    return now_ms


cdef Bucket *bucket_of(Shard *shard, int64_t time_ms) noexcept nogil:
    """The open bucket of a time, found or made."""
    cdef int64_t start_s = time_ms // BUCKET_MS * (BUCKET_MS // 1000)
    cdef int low, high, middle
    if shard.present.start_s == start_s:
        return shard.present
    low, high = 0, shard.open_count
    while low < high:
        middle = (low + high) // 2
        if shard.open[middle].start_s < start_s:
            low = middle + 1
        else:
            high = middle
    if low < shard.open_count and shard.open[low].start_s == start_s:
        return shard.open[low]
    return open_bucket(shard, low, start_s)


cdef Bucket *open_bucket(Shard *shard, int place, int64_t start_s) noexcept nogil:
    cdef Bucket *bucket
    if shard.open_count == shard.open_room:
        shard.open_room = max(shard.open_room * 2, 8)
        shard.open = <Bucket **>take_more(shard.open, shard.open_room * sizeof(Bucket *))
    shard.last_stamp += 1
    bucket = bucket_new(start_s, shard.last_stamp)
    memmove(&shard.open[place + 1], &shard.open[place], (shard.open_count - place) * sizeof(Bucket *))
    shard.open[place] = bucket
    shard.open_count += 1
    shard.entries += bucket.entries
    return bucket


# Flushing.


cdef bint core_full(Core *core) noexcept nogil:
    """Do the open buckets hold `max_entries`? Then all should be flushed."""
    cdef uint64_t entries = 0
    cdef size_t i
    for i in range(core.shard_count):
        entries += total_now(&core.shards[i].entries_shown)
    return entries >= core.max_entries


cdef bint core_flush(Core *core, int64_t now_ms, bint everything) noexcept nogil:
    """Puts the buckets that ended at or before `now_ms` (or all) into the queue for frames; True if there are any.

    May be called by any thread that holds no lock of the core.
    """
    cdef Bucket *done = NULL
    cdef size_t i
    if everything and core_full(core):
        total_add(&core.early_flushes, 1)
    for i in range(core.shard_count):
        done = merge_buckets(done, shard_flush(&core.shards[i], now_ms, everything))
    return core_queue(core, done)


cdef bint core_flush_if_full(Core *core, int64_t now_ms) noexcept nogil:
    """An early flush if the open buckets hold `max_entries`; True if so, and somebody is to make frames."""
    return core_full(core) and core_flush(core, now_ms, True)


cdef Bucket *shard_flush(Shard *shard, int64_t now_ms, bint everything) noexcept nogil:
    """Takes the finished buckets out; a list, oldest first."""
    cdef uint64_t started_ns, stopped_ns
    cdef bint trim
    cdef Bucket *first = NULL
    cdef Bucket **tail = &first
    cdef Bucket *bucket
    cdef int done = 0
    pthread_mutex_lock(&shard.lock)
    started_ns = monotonic_ns()
    if everything:
        shard.flushed_ms = now_ms
    while done < shard.open_count:
        bucket = shard.open[done]
        if not everything and bucket.start_s * 1000 + BUCKET_MS > now_ms:
            break
        if bucket == shard.present:
            shard.present = shard.nowhere
        shard.entries -= bucket.entries
        tail[0] = bucket
        tail = &bucket.next
        done += 1
    if done:
        shard.open_count -= done
        memmove(shard.open, shard.open + done, shard.open_count * sizeof(Bucket *))
    if shard.sweeps:
        shard_sweep(shard, IDLE_SWEEP_SLOTS)
    total_set(&shard.entries_shown, shard.entries)
    trim = shard.sweeps == 0 and shard.swept_bytes >= TRIM_BYTES
    if trim:
        shard.swept_bytes = 0
    stopped_ns = monotonic_ns() - started_ns
    pthread_mutex_unlock(&shard.lock)
    total_most(&shard.core.longest_stop_ns, stopped_ns)
    if trim:
        give_memory_back()
    return first


cdef Bucket *merge_buckets(Bucket *one, Bucket *other) noexcept nogil:
    """Two lists by start become one."""
    cdef Bucket *first = NULL
    cdef Bucket **tail = &first
    while one != NULL and other != NULL:
        if one.start_s <= other.start_s:
            tail[0] = one
            one = one.next
        else:
            tail[0] = other
            other = other.next
        tail = &tail[0].next
    tail[0] = other if one == NULL else one
    return first


cdef bint core_queue(Core *core, Bucket *bucket) noexcept nogil:
    """Adds buckets to the queue for frames, but for those that hold nothing."""
    cdef Bucket *next
    cdef bint any = False
    pthread_mutex_lock(&core.flushed_lock)
    while bucket != NULL:
        next = bucket.next
        bucket.next = NULL
        if bucket_cells(bucket) == 0:
            bucket_free(bucket)
        else:
            free(bucket.places.slots)
            memset(&bucket.places, 0, sizeof(PlaceMap))
            total_add(&core.flushed_entries, bucket.entries)
            total_add(&core.flushed_bytes, bucket_bytes(bucket))
            if core.flushed_first == NULL:
                core.flushed_first = bucket
            else:
                core.flushed_last.next = bucket
            core.flushed_last = bucket
            any = True
        bucket = next
    pthread_mutex_unlock(&core.flushed_lock)
    return any


# More than one receiver.


cdef inline bint is_home(Shard *shard) noexcept nogil:
    """Is this the shard of the gauges?"""
    return shard == shard.core.shards


cdef inline bint may_be_gauge(const Record *record) noexcept nogil:
    """A gauge, or a line that has one among its samples."""
    return memmem(record.line, record.size, "|g", 2) != NULL


cdef void put_aside(Shard *shard, const Record *record) noexcept nogil:
    """Keeps a line for the first shard, which counts it."""
    if shard.foreign_count == shard.foreign_room:
        shard.foreign_room = max(shard.foreign_room * 2, 256)
        shard.foreign = <ForeignLine *>take_more(shard.foreign, shard.foreign_room * sizeof(ForeignLine))
    shard.foreign[shard.foreign_count].line = record.line
    shard.foreign[shard.foreign_count].size = record.size
    shard.foreign_count += 1
    shard.lines -= 1


cdef void shard_add_foreign(
    Shard *shard, ForeignLine *lines, int count, int64_t now_ms, const Origin *origin
) noexcept nogil:
    """Takes lines that another shard has put aside; they stand in packets of its caller."""
    cdef Record records[GROUP]
    cdef int filled = 0
    cdef size_t i
    pthread_mutex_lock(&shard.lock)
    shard.origin = origin
    now_ms = shard_begin(shard, now_ms)
    for i in range(count):
        read_record(shard, lines[i].line, lines[i].line + lines[i].size, &records[filled])
        filled += 1
        if filled == GROUP:
            take_records(shard, records, filled, now_ms)
            filled = 0
    take_records(shard, records, filled, now_ms)
    total_set(&shard.entries_shown, shard.entries)
    pthread_mutex_unlock(&shard.lock)
