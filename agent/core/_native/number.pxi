# Numbers: decimal text to a 64-bit float, bit for bit as Python's float().
#
# Owns the grammar `[+-] digits [. digits] [e [+-] digits]` (digits before or after the point may be missing,
# not both), so nan, inf, hex, blanks and underscores end a number. Three ways, all correctly rounded:
# up to 2^53 times or over a power of ten below 10^23 is one exact operation; up to 19 digits with exponents
# in -64..64 are D. Lemire's multiplication with a 128-bit power of five ("Number Parsing at a Gigabyte per
# Second", 2021); all else goes to strtod, in the C locale.

cdef enum:
    LEAST_POWER = -64
    MOST_POWER = 64
    MOST_DIGITS = 19  # of a mantissa that fits 64 bits
    MOST_EXPONENT = 100_000  # beyond it, any mantissa of a line overflows or is zero

cdef struct NumberTables:
    double tens[23]
    uint64_t fives_high[129]
    uint64_t fives_low[129]
    locale_t c_locale

cdef NumberTables numbers


cdef int fill_number_tables() except -1:
    """Powers of five as 128-bit fractions, rounded as the method wants it."""
    for power in range(23):
        numbers.tens[power] = float(10 ** power)
    for power in range(LEAST_POWER, MOST_POWER + 1):
        five = 5 ** abs(power)
        bits = five.bit_length()
        if power >= 0:
            fraction = (five << 128) >> bits
        else:
            more = 0 if power >= -27 else bits + 1
            fraction = ((1 << (bits + 127 + more)) // five + 1) >> more
        assert fraction.bit_length() == 128
        numbers.fives_high[power - LEAST_POWER] = fraction >> 64
        numbers.fives_low[power - LEAST_POWER] = fraction & 0xFFFFFFFFFFFFFFFF
    numbers.c_locale = newlocale(LC_ALL_MASK, "C", NULL)
    return 0


cdef inline bint is_digit(char byte) noexcept nogil:
    return <uint8_t>(byte - 48) < 10


cdef inline const char *parse_number(const char *p, const char *end, double *value) noexcept nogil:
    """Reads the number at the start of `p .. end`: where it ends, or NULL if there is none.

    `value` may be infinite. The text after the number is the caller's to judge.
    """
    cdef const char *start = p
    cdef const char *digits
    cdef uint64_t mantissa = 0
    cdef int64_t power = 0
    cdef Py_ssize_t count
    cdef bint negative = p < end and p[0] == c"-"
    if negative or (p < end and p[0] == c"+"):
        p += 1
    digits = p
    while p < end and is_digit(p[0]):
        mantissa = mantissa * 10 + <uint64_t>(p[0] - 48)
        p += 1
    count = p - digits
    if p < end and p[0] == c".":
        p += 1
        digits = p
        while p < end and is_digit(p[0]):
            mantissa = mantissa * 10 + <uint64_t>(p[0] - 48)
            p += 1
        power = digits - p
        count += p - digits
    if count == 0:
        return NULL
    if p < end and (p[0] | 32) == c"e":
        p = parse_exponent(p, end, &power)
    if count <= MOST_DIGITS and exact_float(mantissa, power, value):
        value[0] = -value[0] if negative else value[0]
    else:
        value[0] = library_float(start, p)
    return p


cdef const char *parse_exponent(const char *p, const char *end, int64_t *power) noexcept nogil:
    """Adds the exponent at `p` (its `e`) to `power`; gives its end, or `p` itself if it has no digits."""
    cdef const char *start = p
    cdef const char *digits
    cdef int64_t exponent = 0
    cdef bint negative
    p += 1
    negative = p < end and p[0] == c"-"
    if negative or (p < end and p[0] == c"+"):
        p += 1
    digits = p
    while p < end and is_digit(p[0]):
        if exponent < MOST_EXPONENT:
            exponent = exponent * 10 + (p[0] - 48)
        p += 1
    if p == digits:
        return start
    power[0] += -exponent if negative else exponent
    return p


cdef inline bint exact_float(uint64_t mantissa, int64_t power, double *value) noexcept nogil:
    """`mantissa * 10^power` correctly rounded, if one of the quick ways can."""
    if mantissa <= <uint64_t>1 << 53 and -22 <= power <= 22:
        value[0] = <double>mantissa
        if power < 0:
            value[0] = value[0] / numbers.tens[-power]
        elif power > 0:
            value[0] = value[0] * numbers.tens[power]
        return True
    if mantissa == 0:
        value[0] = 0.0
        return True
    if LEAST_POWER <= power <= MOST_POWER:
        return wide_float(mantissa, <int>power, value)
    return False


cdef bint wide_float(uint64_t mantissa, int power, double *value) noexcept nogil:
    """The same for a mantissa of up to 64 bits, not 0; False if 128 bits of the power of five do not decide."""
    cdef int zeros = leading_zeros_64(mantissa)
    cdef uint64_t high, low, second, bits
    cdef int upper, exponent
    mantissa <<= zeros
    low = multiply_128(mantissa, numbers.fives_high[power - LEAST_POWER], &high)
    if high & 0x1FF == 0x1FF:  # the 55 bits that we keep may still grow by one
        multiply_128(mantissa, numbers.fives_low[power - LEAST_POWER], &second)
        low += second
        high += low < second
    if low == 0xFFFFFFFFFFFFFFFFULL and not -27 <= power <= 55:
        return False
    upper = <int>(high >> 63)
    bits = high >> (upper + 9)
    exponent = ((217706 * power) >> 16) + 63 + upper - zeros + 1023
    if exponent <= 0 or exponent >= 0x7FE:
        return False  # subnormal, or next to the end of the range: not with these powers
    if low <= 1 and -4 <= power <= 23 and bits & 3 == 1 and bits << (upper + 9) == high:
        bits &= ~<uint64_t>1  # exactly between two floats: to the even one
    bits = (bits + (bits & 1)) >> 1
    if bits >= <uint64_t>1 << 53:
        bits = <uint64_t>1 << 52
        exponent += 1
    bits = (bits & ~(<uint64_t>1 << 52)) | (<uint64_t>exponent << 52)
    memcpy(value, &bits, 8)
    return True


cdef double library_float(const char *start, const char *end) noexcept nogil:
    """strtod of a text that is known to be a number."""
    cdef char small[128]
    cdef size_t size = end - start
    cdef char *copy = &small[0]
    cdef double value
    if size >= sizeof(small):
        copy = <char *>take(size + 1)
    memcpy(copy, start, size)
    copy[size] = 0
    value = strtod_l(copy, NULL, numbers.c_locale)
    if copy != &small[0]:
        free(copy)
    return value
