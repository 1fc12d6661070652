# Tags of a new line: in its name and after its value; agent/protocol/line.py `_read_tags` is the definition.
#
# Owns the styles of tags, their bounds, and their order. A tag points into the head's key; nothing is copied.


cdef int read_name_tags(Shard *shard, Parts *parts, const char *fields, const char *end) noexcept nogil:
    """Tags in the name; `fields .. end` follows the type. See agent.protocol.line_name.split_name_tags."""
    cdef const char *name_end = parts.name + parts.name_bytes
    cdef const char *start
    cdef const char *stop
    cdef int refused
    if shard.core.name_tags & SIGNALFX:
        start, stop = find_byte(parts.name, name_end, c"["), find_byte(parts.name, name_end, c"]")
        if start < stop and stop < name_end:
            parts.name_bytes = start - parts.name
            parts.name_end = stop + 1
            parts.name_end_bytes = name_end - parts.name_end
            return read_tags_of_name(shard, parts, start + 1, stop, fields, end)
        if start < name_end or stop < name_end:
            parts.ignored[MALFORMED_TAG] += 1
            return GOOD
    start = parts.name
    while start < name_end:
        if (start[0] == c"#" and shard.core.name_tags & LIBRATO) or (
            start[0] == c"," and shard.core.name_tags & INFLUX
        ):
            parts.name_bytes = start - parts.name
            return read_tags_of_name(shard, parts, start + 1, name_end, fields, end)
        start += 1
    return GOOD


cdef int read_tags_of_name(
    Shard *shard, Parts *parts, const char *p, const char *stop, const char *fields, const char *end
) noexcept nogil:
    cdef int refused = read_tags(shard, parts, p, stop, c"=")
    if refused != GOOD:
        return refused
    if parts.count and memmem(fields, end - fields, "|#", 2) != NULL:
        return MIXED_TAG_STYLES
    return GOOD if parts.name_bytes + parts.name_end_bytes else EMPTY_NAME


cdef int read_tags(Shard *shard, Parts *parts, const char *p, const char *end, char separator) noexcept nogil:
    """Adds the tags of one section, separated by commas."""
    cdef const char *stop
    cdef int refused
    while True:
        stop = find_byte(p, end, c",")
        if separator == c":" and p < stop and p[0] == c"#":
            p += 1
        if p < stop:
            refused = read_tag(shard, parts, p, stop, separator)
            if refused != GOOD:
                return refused
        if stop == end:
            return GOOD
        p = stop + 1


cdef int read_tag(Shard *shard, Parts *parts, const char *p, const char *end, char separator) noexcept nogil:
    cdef Tag tag
    cdef Tag *same
    cdef const char *found
    if <size_t>(end - p) > shard.core.max_tag_bytes:
        return TAG_TOO_LONG
    if not is_utf8(p, end - p):
        return INVALID_UTF8
    found = find_byte(p, end, separator)
    if found == p or found + 1 == end:
        parts.ignored[EMPTY_TAG] += 1
        return GOOD
    if not shard.core.control_characters and has_control_character(p, found - p):
        return CONTROL_CHARACTER
    if found == end and separator == c"=":
        parts.ignored[MALFORMED_TAG] += 1
        return GOOD
    tag.key = p
    tag.key_bytes = found - p
    tag.flags = SLICE_BARE if found == end else 0
    tag.value = BARE_VALUE if found == end else found + 1
    tag.value_bytes = 4 if found == end else end - found - 1
    same = tag_find(parts.tags, parts.count, &tag)
    if same != NULL:
        parts.ignored[DUPLICATE_TAG] += 1
        same[0] = tag
    elif parts.count >= shard.core.max_tags:
        return TOO_MANY_TAGS
    else:
        parts.tags[parts.count] = tag
        parts.count += 1
    return GOOD


cdef Tag *tag_find(Tag *tags, uint32_t count, Tag *wanted) noexcept nogil:
    """The tag with the same key, or NULL."""
    cdef size_t i
    for i in range(count):
        if tags[i].key_bytes == wanted.key_bytes and memcmp(tags[i].key, wanted.key, wanted.key_bytes) == 0:
            return &tags[i]
    return NULL


cdef void complete_tags(Shard *shard, Parts *parts) noexcept nogil:
    """Adds the static tags that the line does not have, and sorts all by key."""
    cdef uint32_t sent = parts.count
    cdef size_t i
    for i in range(shard.core.static_count):
        if tag_find(parts.tags, sent, &shard.core.static_tags[i]) == NULL:
            parts.tags[parts.count] = shard.core.static_tags[i]
            parts.count += 1
    sort_tags(parts.tags, parts.count)


cdef void sort_tags(Tag *tags, uint32_t count) noexcept nogil:
    """By key. UTF-8 sorts as its code points do, so this is the order of Python's strings."""
    cdef uint32_t i, j
    cdef Tag tag
    if count > 32:
        qsort(tags, count, sizeof(Tag), &compare_tags)
        return
    for i in range(1, count):
        tag = tags[i]
        j = i
        while j > 0 and compare_tags(&tag, &tags[j - 1]) < 0:
            tags[j] = tags[j - 1]
            j -= 1
        tags[j] = tag


cdef int compare_tags(const void *one, const void *other) noexcept nogil:
    cdef const Tag *a = <const Tag *>one
    cdef const Tag *b = <const Tag *>other
    cdef int order = memcmp(a.key, b.key, min(a.key_bytes, b.key_bytes))
    if order == 0:
        order = (a.key_bytes > b.key_bytes) - (a.key_bytes < b.key_bytes)
    return order
