# Naps: how long a busy socket is left alone, so that packets queue up and one system call takes many.
#
# Owns the rule, and nothing else: times and fills are arguments. A nap must not cost packets, so it is never
# longer than
# * `nap_ms`;
# * half the time that a sender of SENDER_NS a packet, the fastest one can think of, would need to fill the
#   receive buffer (that is none at all for a Unix socket with its short queue);
# * the time in which 1 / NAP_FILL of the buffer would be filled, at the rate since the last read;
# * the time in which NAP_PACKETS would come at that rate: more of them are no cheaper, as they leave the caches.
#
# A socket that had nothing to read begins anew: its first packets are taken for those of the longest nap.

cdef enum:
    SENDER_NS = 1000
    NAP_FILL = 8
    NAP_PACKETS = 256
    NAP_LEAST_NS = 50000  # a shorter one is not worth its system call


cpdef int64_t longest_nap_ns(int64_t nap_ms, uint64_t capacity_packets) noexcept nogil:
    """`capacity_packets`: small packets that the receive buffer holds."""
    return min(nap_ms * 1000000, <int64_t>(capacity_packets * (SENDER_NS // 2)))


cpdef int64_t next_nap_ns(int64_t longest_ns, int64_t since_ns, double fill, uint64_t packets) noexcept nogil:
    """The nap after a read that found the buffer filled to `fill` (0 to 1) and took `packets`, at least one.

    `since_ns`: from the read before it to this one. 0: no nap.
    """
    cdef double parts = max(fill * NAP_FILL, <double>packets / NAP_PACKETS)
    cdef int64_t nap_ns = <int64_t>min(since_ns / parts, <double>longest_ns)
    return nap_ns if nap_ns >= NAP_LEAST_NS else 0
