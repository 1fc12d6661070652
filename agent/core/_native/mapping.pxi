# Mapping: the one place where the core asks Python, once per new head and only if there is a mapping file.
#
# Owns the way there and back. The head is refused here first if it is bad, so that bad lines never wait for
# the interpreter; then agent/protocol/line.py parses it once more for the mapper (agent/mapping/mapper.py), and its
# result is remembered with the head, until `remap`. The caller holds its shard's lock: a mapper must not use the core, and
# a thread that holds the interpreter's lock gives it up before waiting for a shard.


cdef class Mapping:
    """A mapper, and its data."""

    cdef object mapper
    cdef object limits
    cdef dict kinds
    cdef dict ignored

    def __init__(self, mapper, limits):
        self.mapper = mapper
        self.limits = limits
        self.kinds = {kind: number for number, kind in enumerate(Kind)}
        self.ignored = {ignored: number for number, ignored in enumerate(Ignored)}


cdef Head *map_head(
    Shard *shard, uint64_t hash, Head *dead, const char *key, size_t name_bytes, size_t size, Parts *parts
) noexcept with gil:
    """The head for a key, as the mapper says; the parts are those of the key, and good."""
    cdef Mapping mapping = <Mapping>shard.core.mapper
    cdef Head *head
    cdef Series *series = NULL
    cdef bint foreign = False
    try:
        sent = parse_head_in_python(key[:name_bytes], key[name_bytes + 1 : size], mapping.limits)
        mapped = mapping.mapper(sent)
        if mapped is sent:
            return head_of_parts(shard, hash, dead, key, size, parts)
        if not isinstance(mapped, Skip):
            foreign = mapped.kind is Kind.GAUGE and not is_home(shard)
            if not foreign:
                series = mapped_series(shard, mapping, mapped, parts)
    except Exception:  # a mapper raises nothing; if it does, its line is dropped as if it had said so
        series = NULL
    head = head_place(shard, hash, dead, key, size, parts)
    head_settle(shard, head, parts, series)
    if foreign:
        head.flags |= HEAD_FOREIGN
    return head


cdef Series *mapped_series(Shard *shard, Mapping mapping, mapped, Parts *parts) except? NULL:
    """Puts a mapped head into `parts`, and gives its series; NULL if it is beyond the bounds of a line."""
    cdef int number = 0
    cdef bytes name = mapped.name.encode()
    cdef list texts = [(key.encode(), value.encode()) for key, value in mapped.tags]
    cdef int kind = mapping.kinds[mapped.kind]
    cdef size_t longest = max([len(text) for pair in texts for text in pair], default=0)
    if len(texts) > shard.core.max_tags or longest >= 1 << WIDE_LENGTH_BITS:
        return NULL
    parts.kind = kind
    parts.weight = mapped.weight
    parts.scale = mapped.scale
    parts.deltas = _DELTAS_OF_SIGNS[mapped.delta_signs]
    parts.divisor = mapped.divisor
    memset(parts.ignored, 0, sizeof(parts.ignored))
    for ignored in mapped.ignored:
        number = mapping.ignored[ignored]
        parts.ignored[number] += 1
    parts.count = len(texts)
    for i, (key, value) in enumerate(texts):
        parts.tags[i].key = key
        parts.tags[i].key_bytes = len(key)
        parts.tags[i].value = value
        parts.tags[i].value_bytes = len(value)
        parts.tags[i].flags = 0
    cdef Series *series
    complete_tags(shard, parts)
    if is_beyond(shard, kind, <const char *>name, len(name), parts.tags, parts.count):
        series = overflow_series(shard, kind, <const char *>name, len(name))
        series.heads += 1
        return series
    return series_intern(shard, NULL, kind, <const char *>name, len(name), parts.tags, parts.count)
