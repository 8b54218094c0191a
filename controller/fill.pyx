# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How the time of one device that nobody is using is lent to those who could: water-filling, a pure function.

A tenant's rate is its guarantee, which is its own whether it uses it or not, and what it borrows.  What is lent is the
part of the device that those with a guarantee leave; it is divided max-min by weight, nobody getting more than it
wants or may have.
"""

from libc.stdlib cimport free, malloc

include "fill.pxi"


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
