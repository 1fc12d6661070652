# Hashes: a seeded one for the tables, and XXH64 for the members of sets.
#
# The tables' hash multiplies 16 bytes in one step to 128 bits and folds them (as wyhash does). Its seeds are
# random per process, so no client can make keys that collide. XXH64 (seed 0) is part of the stored data:
# it is xxhash.xxh64_intdigest, whatever the machine.

cdef struct HashSeeds:
    uint64_t first
    uint64_t second
    uint64_t third

cdef HashSeeds seeds


cdef int fill_hash_seeds() except -1:
    seeds.first, seeds.second, seeds.third = struct.unpack("<3Q", os.urandom(24))
    return 0


cdef inline uint64_t fold(uint64_t a, uint64_t b) noexcept nogil:
    cdef uint64_t high
    cdef uint64_t low = multiply_128(a, b, &high)
    return low ^ high


cdef inline uint64_t hash_text(const char *p, size_t size, uint64_t start) noexcept nogil:
    """Of `size` bytes, carrying on from `start`. May read 16 bytes past the end."""
    cdef uint64_t state = start ^ size
    cdef uint64_t low, high
    while size >= 16:
        state = fold(load_64(p) ^ state ^ seeds.first, load_64(p + 8) ^ seeds.second)
        p += 16
        size -= 16
    if size == 0:
        return state
    low = load_64(p)
    high = load_64(p + 8)
    if size < 8:
        low &= (<uint64_t>1 << (8 * size)) - 1
        high = 0
    else:
        high &= (<uint64_t>1 << (8 * (size - 8))) - 1
    return fold(low ^ state ^ seeds.first, high ^ seeds.second)


cdef inline uint64_t hash_key(
    const char *name, size_t name_bytes, const char *rest, size_t rest_bytes
) noexcept nogil:
    """Of a line without its value: the name, and all from the first `|` on."""
    return fold(hash_text(rest, rest_bytes, hash_text(name, name_bytes, seeds.third)), seeds.second)


cdef inline uint64_t hash_exactly(const char *p, size_t size, uint64_t start) noexcept nogil:
    """A hash of text with nothing readable after it; another one than hash_text's."""
    cdef uint64_t state = start ^ size
    cdef const char *end = p + size
    while end - p > 16:
        state = fold(load_64(p) ^ state ^ seeds.first, load_64(p + 8) ^ seeds.second)
        p += 16
    if size >= 16:  # the last 16 bytes, also those that were taken before
        return fold(load_64(end - 16) ^ state ^ seeds.first, load_64(end - 8) ^ seeds.second)
    if size >= 8:
        return fold(load_64(p) ^ state ^ seeds.first, load_64(end - 8) ^ seeds.second)
    if size >= 4:
        return fold(load_32(p) ^ state ^ seeds.first, load_32(end - 4) ^ seeds.second)
    if size == 0:
        return state
    return fold(
        <uint8_t>p[0] ^ (<uint64_t><uint8_t>p[size >> 1] << 8) ^ state ^ seeds.first,
        <uint8_t>(end - 1)[0] ^ seeds.second,
    )


cdef extern from *:
    """
    #define PRIME_1 0x9E3779B185EBCA87ULL
    #define PRIME_2 0xC2B2AE3D27D4EB4FULL
    #define PRIME_3 0x165667B19E3779F9ULL
    #define PRIME_4 0x85EBCA77C2B2AE63ULL
    #define PRIME_5 0x27D4EB2F165667C5ULL
    """
    const uint64_t PRIME_1, PRIME_2, PRIME_3, PRIME_4, PRIME_5

cdef enum:
    ROUND_BYTES = 32


cdef inline uint64_t rotate(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef inline uint64_t xx_round(uint64_t lane, uint64_t word) noexcept nogil:
    return rotate(lane + word * PRIME_2, 31) * PRIME_1


cdef inline uint64_t xx_merge(uint64_t state, uint64_t lane) noexcept nogil:
    return (state ^ xx_round(0, lane)) * PRIME_1 + PRIME_4


cdef uint64_t xxh64(const char *p, size_t size) noexcept nogil:
    """XXH64 with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    cdef const char *end = p + size
    cdef uint64_t state = PRIME_5
    cdef uint64_t one, two, three, four
    if size >= ROUND_BYTES:
        one, two, three, four = PRIME_1 + PRIME_2, PRIME_2, 0, 0 - PRIME_1
        while end - p >= ROUND_BYTES:
            one = xx_round(one, load_64(p))
            two = xx_round(two, load_64(p + 8))
            three = xx_round(three, load_64(p + 16))
            four = xx_round(four, load_64(p + 24))
            p += ROUND_BYTES
        state = rotate(one, 1) + rotate(two, 7) + rotate(three, 12) + rotate(four, 18)
        state = xx_merge(xx_merge(xx_merge(xx_merge(state, one), two), three), four)
    state += size
    while end - p >= 8:
        state = rotate(state ^ xx_round(0, load_64(p)), 27) * PRIME_1 + PRIME_4
        p += 8
    if end - p >= 4:
        state = rotate(state ^ (<uint64_t>load_32(p) * PRIME_1), 23) * PRIME_2 + PRIME_3
        p += 4
    while p < end:
        state = rotate(state ^ (<uint64_t><uint8_t>p[0] * PRIME_5), 11) * PRIME_1
        p += 1
    state = (state ^ (state >> 33)) * PRIME_2
    state = (state ^ (state >> 29)) * PRIME_3
    return state ^ (state >> 32)
