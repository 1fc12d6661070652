# Distribution buckets: which exponential bucket a value falls into, exact at every edge.
#
# Owns the search only; the edges are those of agent/aggregate/exponential_buckets.py, taken over at import, so there is one definition.
# The mantissa bits of a float order as the mantissas do, so 52-bit integers are compared. No sixty-fourth of
# the mantissa's range holds more than one edge: its first edge is looked up and one comparison decides.

cdef struct EdgeTable:
    uint64_t edges[34]  # mantissa bits; the last two are above all
    uint8_t first[64]

cdef EdgeTable octave


cdef int fill_edge_table(edges) except -1:
    for j, edge in enumerate(edges):  # 0.5 <= edge < 1: exponent bits 1022
        octave.edges[j] = struct.unpack("<Q", struct.pack("<d", edge))[0] & ((1 << 52) - 1)
    octave.edges[len(edges)] = octave.edges[len(edges) + 1] = 1 << 53
    for part in range(64):
        octave.first[part] = sum(octave.edges[j] < (part << 46) for j in range(len(edges)))
        assert octave.edges[octave.first[part] + 1] >= (part + 1) << 46
    return 0


cdef inline int32_t bucket_index(double value) noexcept nogil:
    """The bucket of a positive finite value, as agent.aggregate.exponential_buckets.index_of."""
    cdef uint64_t bits, mantissa
    cdef int exponent, first
    memcpy(&bits, &value, 8)
    exponent = <int>(bits >> 52)
    mantissa = bits & 0xFFFFFFFFFFFFFULL
    if unlikely(exponent == 0):  # subnormal: shift the highest bit out of the mantissa
        exponent = leading_zeros_64(mantissa) - 11
        mantissa = (mantissa << exponent) & 0xFFFFFFFFFFFFFULL
        exponent = 1 - exponent
    first = octave.first[mantissa >> 46]
    return first + (mantissa > octave.edges[first]) + 32 * (exponent - 1023)
