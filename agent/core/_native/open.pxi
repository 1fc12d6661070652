# Opening and closing a core: settings in Python become numbers and text that need no Python.
#
# Owns the parts that a core has from its beginning to its end: bounds, static tags, shards, locks.


cdef Core *core_open(settings) except NULL:
    cdef Core *core = <Core *>take_zeroed(sizeof(Core))
    core.lateness_ms = settings.aggregate.lateness_s * 1000
    core.future_ms = settings.aggregate.future_s * 1000
    core.gauge_memory_ms = settings.aggregate.gauge_memory_s * 1000
    core.clock_base_ms = <uint64_t>(clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_BOOTTIME))
    core.last_value_ms = settings.aggregate.last_value_s * 1000
    core.max_last_values = settings.aggregate.max_last_values
    core.max_entries = settings.aggregate.max_entries
    core.max_line_bytes = settings.lines.max_line_bytes
    core.max_name_bytes = settings.lines.max_name_bytes
    core.max_tags = settings.lines.max_tags
    core.max_tag_bytes = settings.lines.max_tag_bytes
    for style in settings.lines.name_tags:
        core.name_tags |= <int>_STYLES[style]
    core.gauge_deltas = _DELTAS[settings.lines.gauge_deltas]
    core.control_characters = settings.lines.control_characters
    core.timer_divisor = TIMER_DIVISORS[settings.lines.timer_unit]
    keep_static_tags(core, sorted(settings.tags.items()))
    core.shard_count = getattr(settings.receive, "threads", 1)
    core.max_series = max(settings.aggregate.max_series // core.shard_count, 1)
    core.max_metric_series = share_of(settings.aggregate.max_metric_series, core.shard_count)
    core.max_total_series = share_of(settings.aggregate.max_total_series, core.shard_count)
    core.shards = <Shard *>take_zeroed(core.shard_count * sizeof(Shard))
    for i in range(core.shard_count):
        shard_open(&core.shards[i], core)
    pthread_mutex_init(&core.flushed_lock, NULL)
    pthread_mutex_init(&core.framing_lock, NULL)
    return core


cdef uint64_t share_of(uint64_t limit, int shards) noexcept nogil:
    """One shard's part of a limit; 0 is none."""
    return max(limit // shards, <uint64_t>1) if limit else 0


cdef bint layout_is_as_said():
    """Do heads and series end before the next member?"""
    cdef Head head
    cdef Series series
    return (
        <char *>&head.flags - <char *>&head < HEAD_BYTES
        and <char *>&series.flags - <char *>&series < SERIES_BYTES
    )


cdef int keep_static_tags(Core *core, tags) except -1:
    """Writes `key:value` of all static tags one after the other."""
    encoded = [(key.encode(), value.encode()) for key, value in tags]
    text = b"".join([key + b":" + value for key, value in encoded])
    cdef size_t at = 0
    if len(text) >= 1 << WIDE_LENGTH_BITS:
        raise ValueError(f"agent.tags: {len(text)} bytes, at most {(1 << WIDE_LENGTH_BITS) - 1}")
    core.static_count = len(encoded)
    core.static_bytes = len(text)
    core.static_tags = <Tag *>take_zeroed((len(encoded) + 1) * sizeof(Tag))
    core.static_text = <char *>take(len(text) + 1)
    memcpy(core.static_text, <const char *>text, len(text))
    for i, (key, value) in enumerate(encoded):
        core.static_tags[i].key = core.static_text + at
        core.static_tags[i].key_bytes = len(key)
        core.static_tags[i].value = core.static_text + at + len(key) + 1
        core.static_tags[i].value_bytes = len(value)
        core.static_tags[i].flags = SLICE_STATIC
        at += len(key) + 1 + len(value)
    return 0


cdef void core_close(Core *core) noexcept:
    while take_flushed(core):
        core.framing.bucket = NULL
    core.framing.bucket = NULL
    free_framed(core)
    core.max_last_values = 0  # nothing is to be kept of series that go now
    for i in range(core.shard_count):
        shard_close(&core.shards[i])
    free(core.shards)
    free(core.static_tags)
    free(core.static_text)
    pthread_mutex_destroy(&core.flushed_lock)
    pthread_mutex_destroy(&core.framing_lock)
    free(core)
