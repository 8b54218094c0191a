/* bytes.h -- sums and products of what strangers say: too many bytes stay too many. */
#ifndef GS_BYTES_H
#define GS_BYTES_H

#include <stdint.h>

static inline uint64_t gs_plus(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t gs_times(uint64_t a, uint64_t b)
{
    uint64_t product;

    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static inline uint64_t gs_larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
