/* lz4.h -- one block of the LZ4 format, as fat binaries hold it. */
#ifndef SIM_LZ4_H
#define SIM_LZ4_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The length of which a token's four bits are the beginning; false: the input ends inside it. */
static inline int sim_lz4_length(const unsigned char **at, const unsigned char *end, size_t *length)
{
    unsigned char more = 255;
    if (*length != 15)
        return 1;
    while (more == 255) {
        if (*at >= end)
            return 0;
        more = *(*at)++;
        *length += more;
    }
    return 1;
}

/* Returns the bytes made; 0: broken input, or more than `to_size`. */
static inline size_t sim_lz4_decompress(void *to, size_t to_size, const void *from, size_t from_size)
{
    const unsigned char *at = from, *end = at + from_size;
    unsigned char *out = to, *start = to, *out_end = out + to_size;
    while (at < end) {
        unsigned token = *at++;
        size_t literals = token >> 4, match = token & 15;
        if (!sim_lz4_length(&at, end, &literals) || literals > (size_t)(end - at) ||
            literals > (size_t)(out_end - out))
            return 0;
        memcpy(out, at, literals);
        at += literals;
        out += literals;
        if (at == end)
            break; /* the last sequence has no match */
        if (end - at < 2)
            return 0;
        size_t distance = (size_t)at[0] | (size_t)at[1] << 8;
        at += 2;
        if (!sim_lz4_length(&at, end, &match))
            return 0;
        match += 4;
        if (!distance || distance > (size_t)(out - start) || match > (size_t)(out_end - out))
            return 0;
        for (; match; match--, out++)
            *out = out[-(ptrdiff_t)distance];
    }
    return (size_t)(out - start);
}

#endif
