# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How the time of one device that nobody is using is lent to those who could: water-filling, a pure function.

A tenant's rate is its guarantee, which is its own whether it uses it or not, and what it borrows.  What is lent is the
part of the device that those with a guarantee leave; it is divided max-min by weight, nobody getting more than it
wants or may have.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc


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


def fill(wants, uint32_t capacity_ppm):
    """The rates, in ppm, for tenants given as (guarantee_ppm, ceiling_ppm, demand_ppm, weight).

    `capacity_ppm` is what of the device there is to give: all of it, less what switching between tenants costs.
    """
    cdef int count = len(wants), i
    cdef Want *given = <Want *> malloc(max(count, 1) * sizeof(Want))
    cdef uint32_t *rates = <uint32_t *> malloc(max(count, 1) * sizeof(uint32_t))
    try:
        if given == NULL or rates == NULL:
            raise MemoryError
        for i in range(count):
            guarantee, ceiling, demand, weight = wants[i]
            given[i] = Want(guarantee, ceiling, demand, weight)
        water_fill(given, rates, count, capacity_ppm)
        return [rates[i] for i in range(count)]
    finally:
        free(given)
        free(rates)


def parts(free_ppm, weights):
    """What each weight comes to when all are busy: the guarantee of a tenant that has a weight and no share."""
    total = sum(weights)
    return [free_ppm * weight // total for weight in weights]
