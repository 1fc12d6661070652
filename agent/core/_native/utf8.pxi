# UTF-8: strict validation, as bytes.decode() does it: no overlong forms, no surrogates, nothing above U+10FFFF.
# Asked once per new head, so it is plain (RFC 3629, section 4).


cdef bint is_utf8(const char *text, size_t size) noexcept nogil:
    cdef const uint8_t *p = <const uint8_t *>text
    cdef const uint8_t *end = p + size
    cdef uint8_t first, least, most
    cdef int more
    while p < end:
        first = p[0]
        p += 1
        if first < 0x80:
            continue
        least, most = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                least = 0xA0
            elif first == 0xED:
                most = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                least = 0x90
            elif first == 0xF4:
                most = 0x8F
        else:
            return False
        if end - p < more or not least <= p[0] <= most:
            return False
        p += 1
        for _ in range(more - 1):
            if not 0x80 <= p[0] <= 0xBF:
                return False
            p += 1
    return True
