# Functions of scan.h, the C library and POSIX threads that several stages call; receive.pxi declares those of sockets.

cdef extern from "scan.h" nogil:
    enum: SCAN_BEYOND
    bint likely(bint)
    bint unlikely(bint)
    void prefetch_read(const void *)
    void prefetch_write(const void *)
    const char *scan_name(const char *, const char *)
    const char *scan_line(const char *, const char *, int *)
    uint64_t load_64(const void *)
    uint32_t load_32(const void *)
    uint8_t flags_now(const uint8_t *)
    void flags_put(uint8_t *, uint8_t)
    void store_64(void *, uint64_t)
    void store_32(void *, uint32_t)
    void store_16(void *, uint16_t)
    uint64_t multiply_128(uint64_t, uint64_t, uint64_t *)
    int leading_zeros_64(uint64_t)
    uint32_t count_up(uint32_t *)
    uint32_t count_down(uint32_t *)
    uint32_t count_now(const uint32_t *)
    uint64_t total_add(uint64_t *, int64_t)
    void total_set(uint64_t *, uint64_t)
    void total_most(uint64_t *, uint64_t)
    uint64_t total_now(const uint64_t *)
    uint64_t monotonic_ns()
    void keep_large_buffers_apart()
    void give_memory_back()

cdef extern from "<string.h>" nogil:
    void *memmem(const void *, size_t, const void *, size_t)

cdef extern from "<locale.h>" nogil:
    ctypedef void *locale_t
    locale_t newlocale(int, const char *, locale_t)
    int LC_ALL_MASK

cdef extern from "<stdlib.h>" nogil:
    double strtod_l(const char *, char **, locale_t)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, long)
    int munmap(void *, size_t)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void *MAP_FAILED

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, const void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
