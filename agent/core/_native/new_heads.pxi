# New heads: from the parts of a line to an entry of the table, with its series and its flags.
#
# Runs once for each new head, and again for a dead one that is used again.


cdef Head *head_make(
    Shard *shard, uint64_t hash, const char *name, size_t name_bytes, const char *rest, size_t rest_bytes,
    int *refused,
) noexcept nogil:
    """Parses and remembers a head that is not known, or is dead; NULL if the line is to be refused."""
    cdef size_t size = name_bytes + rest_bytes
    cdef char *key = room(&shard.key, size)
    cdef Parts *parts = &shard.parts
    cdef uint64_t before = shard.new_series
    cdef Head *head
    memcpy(key, name, name_bytes)
    memcpy(key + name_bytes, rest, rest_bytes)
    refused[0] = parse_head(shard, key, name_bytes, size, parts)
    if refused[0] != GOOD:
        return NULL
    head = head_find(&shard.heads, hash, name, name_bytes, rest, rest_bytes)
    if shard.core.mapper != NULL:
        head = map_head(shard, hash, head, key, name_bytes, size, parts)
    else:
        head = head_of_parts(shard, hash, head, key, size, parts)
    if shard.new_series != before:
        count_client(shard, shard.new_series - before)
    return head


cdef Head *head_of_parts(
    Shard *shard, uint64_t hash, Head *dead, const char *key, size_t size, Parts *parts
) noexcept nogil:
    """The head of parts that stand in its key."""
    cdef Head *head
    complete_tags(shard, parts)
    head = beyond_head(shard, parts)
    if unlikely(head != NULL):
        return head
    head = head_place(shard, hash, dead, key, size, parts)
    head_settle(shard, head, parts, series_of_parts(shard, head, key, parts))
    return head


cdef Head *head_place(
    Shard *shard, uint64_t hash, Head *dead, const char *key, size_t key_bytes, Parts *parts
) noexcept nogil:
    """The head for a key: a new one in the table, or the dead one of that key, to be used again."""
    cdef Head *head = dead
    cdef bint extra = not is_plain(parts) or has_factors(parts) or shard.core.mapper != NULL
    if head == NULL:
        head = <Head *>take_zeroed(head_size_of(key_bytes, extra))
        head.key_bytes = key_bytes
        head.flags = HEAD_FOUND | HEAD_EXTRA if extra else HEAD_FOUND
        memcpy(head_key(head), key, key_bytes)
        shard.head_bytes += head_size(head)
        table_put(&shard.heads, hash, <Entry *>head)
    return head


cdef void head_settle(Shard *shard, Head *head, Parts *parts, Series *series) noexcept nogil:
    """Gives a head its meaning; `series`: NULL if its lines are dropped."""
    cdef Series *before = head.series
    head.kind = parts.kind
    head.stamp = 0
    head.series = series
    head.flags &= ~(HEAD_SLOW | HEAD_FACTORS | HEAD_FOREIGN | HEAD_PLUS | HEAD_MINUS)
    head.flags |= HEAD_PLUS if parts.deltas != NO_DELTAS else 0
    head.flags |= HEAD_MINUS if parts.deltas == SIGNED_DELTAS else 0
    if series != NULL and series.kind == GAUGE and parts.deltas != NO_DELTAS:
        if not series.flags & (SERIES_OVERFLOW | SERIES_DELTAS):
            flags_put(&series.flags, <uint8_t>(series.flags | SERIES_DELTAS))
    if series == NULL or series.flags & SERIES_OVERFLOW or not is_plain(parts):
        head.flags |= HEAD_SLOW
    if head.flags & HEAD_EXTRA:
        head_extra(head).weight = parts.weight
        head_extra(head).scale = parts.scale
        head_extra(head).divisor = parts.divisor
        head.flags |= HEAD_FACTORS if has_factors(parts) else 0
        memcpy(head_extra(head).ignored, parts.ignored, sizeof(parts.ignored))
    series_let_go(shard, before)
    head_put(shard, head)


cdef bint is_plain(Parts *parts) noexcept nogil:
    cdef size_t i
    for i in range(IGNORED_KINDS):
        if parts.ignored[i]:
            return False
    return True


cdef bint has_factors(Parts *parts) noexcept nogil:
    return parts.weight != 1.0 or parts.scale != 1.0 or parts.divisor != 1.0


cdef Series *series_of_parts(Shard *shard, Head *head, const char *key, Parts *parts) noexcept nogil:
    """The series of parsed parts, which stand in `key`: the head has the same text."""
    cdef char *name
    cdef Series *series
    cdef ptrdiff_t moved = head_key(head) - key
    cdef size_t i
    if parts.name_end_bytes:  # a name in two parts is not to be found in the key
        name = <char *>take(parts.name_bytes + parts.name_end_bytes)
        join_name(parts, name)
        series = series_intern(
            shard, NULL, parts.kind, name, parts.name_bytes + parts.name_end_bytes, parts.tags, parts.count
        )
        free(name)
        return series
    for i in range(parts.count):
        if not parts.tags[i].flags & SLICE_STATIC:
            parts.tags[i].key += moved
            if not parts.tags[i].flags & SLICE_BARE:
                parts.tags[i].value += moved
    return series_intern(shard, head, parts.kind, head_key(head), parts.name_bytes, parts.tags, parts.count)
