/* Finding the bytes that part a line: `\n`, `:` and `|`; and hints to the processor.
 *
 * 16 bytes in one step with SSE2, which every x86-64 has; byte by byte elsewhere. All functions may read up to
 * SCAN_BEYOND bytes past `end` (their content changes nothing), so buffers have that much room after it.
 */
#ifndef METERHOUSE_SCAN_H
#define METERHOUSE_SCAN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#define SCAN_BEYOND 32

#define prefetch_read(address) __builtin_prefetch((address), 0, 3)
#define prefetch_write(address) __builtin_prefetch((address), 1, 3)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#if defined(__SSE2__)
#include <emmintrin.h>

/* The first `\n`, `|` or `:` at or after p, or end. */
static inline const char *scan_name(const char *p, const char *end) {
    const __m128i newline = _mm_set1_epi8('\n'), bar = _mm_set1_epi8('|'), colon = _mm_set1_epi8(':');
    for (; p < end; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)p);
        __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, newline), _mm_cmpeq_epi8(bytes, bar)),
                                     _mm_cmpeq_epi8(bytes, colon));
        int mask = _mm_movemask_epi8(found);
        if (mask) {
            p += __builtin_ctz((unsigned)mask);
            return p < end ? p : end;
        }
    }
    return end;
}

/* The first `\n` at or after p, or end. Sets *timed if a `|T` comes before it. */
static inline const char *scan_line(const char *p, const char *end, int *timed) {
    const __m128i newline = _mm_set1_epi8('\n'), bar = _mm_set1_epi8('|'), time = _mm_set1_epi8('T');
    for (; p < end; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)p), next = _mm_loadu_si128((const __m128i *)(p + 1));
        unsigned ends = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, newline));
        unsigned times = (unsigned)_mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(bytes, bar), _mm_cmpeq_epi8(next, time)));
        if (likely(!(ends | times))) continue;
        const char *stop = ends ? p + __builtin_ctz(ends) : p + 16;
        if (stop > end) stop = end;
        if (times && p + __builtin_ctz(times) + 1 < (ends ? stop : end)) *timed = 1;
        if (ends || stop == end) return stop;
    }
    return end;
}

#else

static inline const char *scan_name(const char *p, const char *end) {
    while (p < end && *p != '\n' && *p != '|' && *p != ':') p++;
    return p;
}

static inline const char *scan_line(const char *p, const char *end, int *timed) {
    while (p < end && *p != '\n') {
        if (*p == '|' && p + 1 < end && p[1] == 'T') *timed = 1;
        p++;
    }
    return p;
}

#endif

/* 8 bytes as a little-endian number, whatever the machine. */
static inline uint64_t load_64(const void *p) {
    uint64_t word;
    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline uint32_t load_32(const void *p) {
    uint32_t word;
    memcpy(&word, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

static inline void store_64(void *p, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(p, &word, 8);
}

static inline void store_32(void *p, uint32_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    memcpy(p, &word, 4);
}

static inline void store_16(void *p, uint16_t word) {
    unsigned char bytes[2] = {(unsigned char)(word & 0xFF), (unsigned char)(word >> 8)};
    memcpy(p, bytes, 2);
}

/* The full 128-bit product of two words. */
static inline uint64_t multiply_128(uint64_t a, uint64_t b, uint64_t *high) {
    unsigned __int128 product = (unsigned __int128)a * b;
    *high = (uint64_t)(product >> 64);
    return (uint64_t)product;
}

static inline int leading_zeros_64(uint64_t word) { return __builtin_clzll(word); }

/* Counters that two threads change: only the sum matters, and that memory freed by one was let go by all. */
static inline uint32_t count_up(uint32_t *counter) { return __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED); }
static inline uint32_t count_down(uint32_t *counter) { return __atomic_sub_fetch(counter, 1, __ATOMIC_RELEASE); }
static inline uint32_t count_now(const uint32_t *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }
static inline uint64_t total_add(uint64_t *total, int64_t more) {
    return __atomic_add_fetch(total, (uint64_t)more, __ATOMIC_RELAXED);
}
static inline void total_set(uint64_t *total, uint64_t value) { __atomic_store_n(total, value, __ATOMIC_RELAXED); }
static inline void total_most(uint64_t *total, uint64_t value) { /* raised to the largest value seen */
    uint64_t before = __atomic_load_n(total, __ATOMIC_RELAXED);
    while (before < value &&
           !__atomic_compare_exchange_n(total, &before, value, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}
static inline uint64_t total_now(const uint64_t *total) { return __atomic_load_n(total, __ATOMIC_RELAXED); }

/* Flags of a series: changed under its shard's lock, and read without it while a frame is filled. */
static inline uint8_t flags_now(const uint8_t *flags) { return __atomic_load_n(flags, __ATOMIC_RELAXED); }
static inline void flags_put(uint8_t *flags, uint8_t value) { __atomic_store_n(flags, value, __ATOMIC_RELAXED); }

/* Buffers of 128 KiB and more (columns, frames) are mapped, and leave with their last use. That is where glibc
 * begins, too, but each one that is freed raises its bound: they would end up among the series, in memory that
 * cannot be given back. */
static inline void keep_large_buffers_apart(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

/* free() keeps its blocks for later; this returns them to the system, where the C library can. */
static inline void give_memory_back(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

static inline uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
