# Digits: a 64-bit float as Prometheus' JSON shows it, byte for byte as `shim.http.number_json.float_text`.
#
# The shortest decimal that reads back the same, and of these the closest: R. Giulietti's Schubfach ("The
# Schubfach way to render doubles", 2020), in the form without special cases for few digits. Its table of powers
# of ten as 128-bit fractions, rounded up, is computed at import.

cdef extern from *:
    """
    static inline uint64_t multiply_high(uint64_t a, uint64_t b, uint64_t *low) {
        unsigned __int128 product = (unsigned __int128)a * b;
        *low = (uint64_t)product;
        return (uint64_t)(product >> 64);
    }
    """
    uint64_t multiply_high(uint64_t a, uint64_t b, uint64_t *low) nogil

cdef enum:
    LEAST_TENS = -292  # powers of ten that 64-bit floats need
    MOST_TENS = 324
    FRACTION_BITS = 52
    EXPONENT_BIAS = 1075  # of a significand that is a whole number
    MOST_DIGITS = 17  # of a shortest decimal
    TEXT_BYTES = 32  # more than any float's text: sign, "0.", five zeros, 17 digits

cdef struct DigitTables:
    uint64_t tens_high[617]
    uint64_t tens_low[617]
    char pairs[200]  # "00" to "99"

cdef struct Decimal:  # digits * 10^exponent
    uint64_t digits
    int exponent

cdef DigitTables tables


cdef int fill_digit_tables() except -1:
    for power in range(LEAST_TENS, MOST_TENS + 1):
        ten = 10 ** abs(power)
        if power >= 0:
            bits = ten.bit_length()
            fraction = ten << 128 - bits if bits <= 128 else -(-ten >> bits - 128)
        else:
            bits = (ten - 1).bit_length()
            fraction = -(-(1 << 127 + bits) // ten)
        assert fraction.bit_length() == 128
        tables.tens_high[power - LEAST_TENS] = fraction >> 64
        tables.tens_low[power - LEAST_TENS] = fraction & 0xFFFFFFFFFFFFFFFF
    for number in range(100):
        tables.pairs[2 * number] = 48 + number // 10
        tables.pairs[2 * number + 1] = 48 + number % 10
    return 0


cdef inline uint64_t rounded_to_odd(uint64_t high, uint64_t low, uint64_t factor) noexcept nogil:
    """The top 64 bits of the product; its last bit is set if anything is below."""
    cdef uint64_t middle
    cdef uint64_t rest
    cdef uint64_t carried = multiply_high(low, factor, &rest)
    cdef uint64_t top = multiply_high(high, factor, &middle)
    middle += carried
    top += middle < carried
    return top | (middle > 1)


cdef inline Decimal shortest(uint64_t bits) noexcept nogil:
    """Of a float that is finite, positive and not 0. There may be zeros at the end of the digits."""
    cdef uint64_t fraction = bits & ((<uint64_t>1 << FRACTION_BITS) - 1)
    cdef int biased = <int>(bits >> FRACTION_BITS)
    cdef uint64_t significand = fraction | (<uint64_t>1 << FRACTION_BITS) if biased else fraction
    cdef int exponent = (biased if biased else 1) - EXPONENT_BIAS
    cdef bint odd = significand & 1
    cdef bint close_below = fraction == 0 and biased > 1  # the next smaller float is half as far
    cdef int tens = (exponent * 1262611 - (524031 if close_below else 0)) >> 22
    cdef int shift = exponent + ((-tens * 1741647) >> 19) + 1
    cdef uint64_t high = tables.tens_high[-tens - LEAST_TENS]
    cdef uint64_t low = tables.tens_low[-tens - LEAST_TENS]
    cdef uint64_t value = rounded_to_odd(high, low, 4 * significand << shift)
    cdef uint64_t least = rounded_to_odd(high, low, (4 * significand - 2 + close_below) << shift) + odd
    cdef uint64_t most = rounded_to_odd(high, low, (4 * significand + 2) << shift) - odd
    cdef uint64_t digits = value >> 2
    cdef uint64_t fewer = digits // 10
    cdef bint below
    cdef bint above
    cdef Decimal found
    if digits >= 10:  # with a digit less?
        below = least <= 40 * fewer
        above = 40 * fewer + 40 <= most
        if below != above:
            found.digits = fewer + above
            found.exponent = tens + 1
            return found
    below = least <= 4 * digits
    above = 4 * digits + 4 <= most
    if below == above:  # both or neither: the closer one, of two the even one
        above = value > 4 * digits + 2 or (value == 4 * digits + 2 and digits & 1)
    found.digits = digits + above
    found.exponent = tens
    return found


cdef inline char *write_digits(char *end, uint64_t number) noexcept nogil:
    """Writes a whole number so that it ends before `end`; where it begins."""
    cdef uint64_t rest
    while number >= 100:
        rest = number // 100
        end -= 2
        memcpy(end, &tables.pairs[2 * (number - 100 * rest)], 2)
        number = rest
    if number >= 10:
        end -= 2
        memcpy(end, &tables.pairs[2 * number], 2)
    else:
        end -= 1
        end[0] = <char>(48 + number)
    return end


cdef inline char *write_whole(char *to, uint64_t number) noexcept nogil:
    cdef char text[24]
    cdef char *begin = write_digits(text + 24, number)
    cdef Py_ssize_t size = text + 24 - begin
    memcpy(to, begin, size)
    return to + size


cdef inline char *write_zeros(char *to, Py_ssize_t count) noexcept nogil:
    memset(to, 48, count)
    return to + count


cdef char *write_decimal(char *to, Decimal decimal, bint plain) noexcept nogil:
    """`plain`: without an exponent, as is right between 1e-6 and 1e21."""
    cdef char text[24]
    cdef char *begin
    cdef Py_ssize_t size
    cdef Py_ssize_t whole  # digits before the point
    cdef uint64_t fewer = decimal.digits // 10
    while fewer * 10 == decimal.digits:
        decimal.digits = fewer
        decimal.exponent += 1
        fewer = decimal.digits // 10
    begin = write_digits(text + 24, decimal.digits)
    size = text + 24 - begin
    whole = size + decimal.exponent
    if not plain:
        return write_exponent(to, begin, size, whole - 1)
    if whole <= 0:
        memcpy(to, b"0.", 2)
        to = write_zeros(to + 2, -whole)
        memcpy(to, begin, size)
        return to + size
    if whole >= size:
        memcpy(to, begin, size)
        return write_zeros(to + size, whole - size)
    memcpy(to, begin, whole)
    to[whole] = c"."
    memcpy(to + whole + 1, begin + whole, size - whole)
    return to + size + 1


cdef char *write_exponent(char *to, const char *digits, Py_ssize_t size, Py_ssize_t power) noexcept nogil:
    """`1.5e+300`; the power has two digits at least."""
    to[0] = digits[0]
    to += 1
    if size > 1:
        to[0] = c"."
        memcpy(to + 1, digits + 1, size - 1)
        to += size
    to[0] = c"e"
    to[1] = c"-" if power < 0 else c"+"
    power = -power if power < 0 else power
    to += 2
    if power < 10:
        to[0] = c"0"
        to += 1
    return write_whole(to, <uint64_t>power)


cdef inline char *write_float(char *to, double value) noexcept nogil:
    """Writes less than TEXT_BYTES; where they end."""
    cdef uint64_t bits
    cdef double size = fabs(value)
    if value != value:
        memcpy(to, b"NaN", 3)
        return to + 3
    if size > DBL_MAX:
        memcpy(to, b"+Inf" if value > 0 else b"-Inf", 4)
        return to + 4
    memcpy(&bits, &value, 8)
    if bits >> 63:
        to[0] = c"-"
        to += 1
        bits &= <uint64_t>-1 >> 1
    if size < 9007199254740992.0 and size == <double><uint64_t>size:
        return write_whole(to, <uint64_t>size)
    return write_decimal(to, shortest(bits), 1e-6 <= size < 1e21)
