/* array_bound.c -- the most that an array can take, from its descriptor alone.
 *
 * Arrays lie in blocks of 64 bytes x 8 rows; up to 32 of them are stacked in height and, with three dimensions, up to
 * 32 in depth, always a power of two, and no more than the array needs.  Every level of a mipmapped array is rounded
 * up like that for itself, and every layer begins with a whole stack. */
#include "array_size.h"
#include "bytes.h"

#define ROW_BYTES  64u
#define BLOCK_ROWS 8u
#define MOST_STACK 32u

#define MOST_ELEMENT 16u /* bytes: nothing is larger */
#define MOST_LEVELS  64u

enum shape {
    PLAIN,      /* bytes per channel */
    PACKED,     /* bytes per texel, whatever the number of channels */
    COMPRESSED, /* bytes per 4 x 4 texels */
    YUV_420,    /* bytes per sample: a plane of luma, and two of chroma with half the width and height, … */
    YUV_422,    /* … with half the width, … */
    YUV_444,    /* … or as large */
};

static const struct format {
    uint8_t first, last; /* CUarray_format */
    uint8_t shape;
    uint8_t bytes;
} formats[] = {
    {0x01, 0x01, PLAIN, 1},      {0x02, 0x02, PLAIN, 2},       {0x03, 0x03, PLAIN, 4},
    {0x08, 0x08, PLAIN, 1},      {0x09, 0x09, PLAIN, 2},       {0x0a, 0x0a, PLAIN, 4},
    {0x10, 0x10, PLAIN, 2},      {0x20, 0x20, PLAIN, 4},       {0x50, 0x50, PACKED, 4},
    {0x51, 0x52, PACKED, 4},     {0x53, 0x53, YUV_420, 1},     {0x54, 0x54, YUV_420, 2},
    {0x55, 0x55, YUV_422, 1},    {0x56, 0x56, YUV_422, 2},     {0x57, 0x57, YUV_444, 1},
    {0x58, 0x58, YUV_444, 2},    {0x59, 0x59, YUV_420, 1},     {0x5a, 0x5a, YUV_420, 2},
    {0x5b, 0x5b, YUV_422, 1},    {0x5c, 0x5c, YUV_422, 2},     {0x5d, 0x5d, YUV_444, 1},
    {0x5e, 0x5e, YUV_444, 2},    {0x91, 0x92, COMPRESSED, 8},  {0x93, 0x96, COMPRESSED, 16},
    {0x97, 0x98, COMPRESSED, 8}, {0x99, 0x9e, COMPRESSED, 16}, {0x9f, 0xa1, YUV_420, 2},
    {0xa2, 0xa2, YUV_422, 1},    {0xa3, 0xa4, YUV_422, 2},     {0xa5, 0xa5, PACKED, 2},
    {0xa6, 0xa9, PACKED, 4},     {0xb0, 0xb0, YUV_420, 1},     {0xb1, 0xb1, PACKED, 8},
    {0xb2, 0xb2, YUV_444, 1},    {0xb3, 0xb3, YUV_444, 2},     {0xb4, 0xb4, YUV_444, 1},
    {0xb5, 0xb5, YUV_444, 2},    {0xc0, 0xc2, PLAIN, 1},       {0xc3, 0xc5, PLAIN, 2},
    {0xc6, 0xc8, PLAIN, 1},      {0xc9, 0xcb, PLAIN, 2},
};

/* Who brings a format of tomorrow pays for the largest element. */
static struct format format_of(int value)
{
    for (unsigned int i = 0; i < sizeof formats / sizeof *formats; i++)
        if (value >= formats[i].first && value <= formats[i].last)
            return formats[i];
    return (struct format){.shape = PACKED, .bytes = MOST_ELEMENT};
}

/* `grain` is a power of two. */
static uint64_t rounded(uint64_t value, uint64_t grain)
{
    return value > UINT64_MAX - grain ? UINT64_MAX : (value + grain - 1) & ~(grain - 1);
}

/* How many pieces cover the extent, which is at least 1. */
static uint64_t pieces(uint64_t extent, uint64_t piece)
{
    return (extent - 1) / piece + 1;
}

/* How many blocks are stacked where that many are needed. */
static uint64_t stack(uint64_t blocks)
{
    uint64_t most = 1;

    while (most < MOST_STACK && most < blocks)
        most *= 2;
    return most;
}

struct extent {
    uint64_t width, height, depth; /* in texels, at least 1; depth 1 where layers are counted apart */
};

static uint64_t plane_bytes(struct extent extent, uint64_t element_bytes)
{
    uint64_t rows = rounded(extent.height, BLOCK_ROWS * stack(pieces(extent.height, BLOCK_ROWS)));
    uint64_t slices = rounded(extent.depth, stack(extent.depth));

    return gs_times(rounded(gs_times(extent.width, element_bytes), ROW_BYTES), gs_times(rows, slices));
}

static uint64_t level_bytes(struct extent extent, const struct format *format, unsigned int channels)
{
    struct extent chroma = extent;

    switch (format->shape) {
    case PLAIN:
        return plane_bytes(extent, gs_times(format->bytes, channels));
    case PACKED:
        return plane_bytes(extent, format->bytes);
    case COMPRESSED:
        extent.width = pieces(extent.width, 4);
        extent.height = pieces(extent.height, 4);
        return plane_bytes(extent, format->bytes);
    default:
        if (format->shape != YUV_444)
            chroma.width = pieces(extent.width, 2);
        if (format->shape == YUV_420)
            chroma.height = pieces(extent.height, 2);
        return gs_plus(plane_bytes(extent, format->bytes), gs_times(2, plane_bytes(chroma, format->bytes)));
    }
}

uint64_t gs_array_bound(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels)
{
    const struct format format = format_of(desc->Format);
    int layered = !!(desc->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP));
    struct extent extent = {gs_larger(desc->Width, 1), gs_larger(desc->Height, 1),
                            layered ? 1 : gs_larger(desc->Depth, 1)};
    uint64_t most = gs_larger(extent.width, extent.height);
    uint64_t layer = 0;

    most = gs_larger(most, extent.depth);
    for (unsigned int level = 0; level < gs_larger(levels, 1) && level < MOST_LEVELS && most >> level;
         level++)
        layer = gs_plus(layer, level_bytes((struct extent){gs_larger(extent.width >> level, 1),
                                                           gs_larger(extent.height >> level, 1),
                                                           gs_larger(extent.depth >> level, 1)},
                                           &format, desc->NumChannels));
    if (layered)
        layer = gs_times(rounded(layer, ROW_BYTES * BLOCK_ROWS * MOST_STACK), gs_larger(desc->Depth, 1));
    return rounded(layer, GS_ARRAY_PAGE);
}
