# Water-filling itself, as fill.pyx describes it: in C, for whoever does it often.

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct Want:
    uint32_t guarantee_ppm
    uint32_t ceiling_ppm
    uint32_t demand_ppm
    uint32_t weight


cdef inline uint64_t appetite_of(const Want *want, uint32_t rate_ppm) noexcept nogil:
    """What it would still take."""
    cdef uint32_t most = min(want.ceiling_ppm, want.demand_ppm)
    return most - rate_ppm if most > rate_ppm and want.weight else 0


cdef void water_fill(const Want *wants, uint32_t *rates_ppm, int count, uint32_t capacity_ppm) noexcept nogil:
    """One rate for each of `count` wants.  A round satisfies somebody or is the last one."""
    cdef int64_t left = capacity_ppm, before
    cdef uint64_t weights, appetite
    cdef int i
    for i in range(count):
        rates_ppm[i] = wants[i].guarantee_ppm
        left -= min(wants[i].guarantee_ppm, wants[i].demand_ppm)
    while left > 0:
        weights = 0
        for i in range(count):
            if appetite_of(&wants[i], rates_ppm[i]):
                weights += wants[i].weight
        if weights == 0:
            return
        before = left
        for i in range(count):
            appetite = appetite_of(&wants[i], rates_ppm[i])
            if appetite and appetite * weights <= <uint64_t> before * wants[i].weight:
                rates_ppm[i] += <uint32_t> appetite
                left -= appetite
        if left == before:
            break
    for i in range(count):
        if left > 0 and appetite_of(&wants[i], rates_ppm[i]):
            rates_ppm[i] += <uint32_t> (<uint64_t> left * wants[i].weight / weights)
