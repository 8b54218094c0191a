/* array_shape.c -- which arrays can exist, and how they lie in memory. */
#include "array.h"

#define ALL_FLAGS  0x1ffu
#define ROW_BYTES  64
#define BLOCK_ROWS 8
#define MAX_BLOCKS 16

static const struct sim_format formats[] = {
#define FORMAT(value, name, bytes, channels, block, planes, x, y, chroma)                                    \
    {value, bytes, channels, block, planes, x, y, chroma},
#include "formats.def"
#undef FORMAT
};

const struct sim_format *sim_format_find(int value)
{
    for (unsigned i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (formats[i].value == value)
            return &formats[i];
    return NULL;
}

uint32_t sim_format_element(const struct sim_format *format, unsigned channels)
{
    if (format->channels ? channels != format->channels : channels != 1 && channels != 2 && channels != 4)
        return 0;
    return format->block > 1 || format->planes > 1 ? format->channel_bytes : format->channel_bytes * channels;
}

/* -------- shapes and their limits -------- */

enum sim_shape sim_shape_of(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    bool layered = d->Flags & CUDA_ARRAY3D_LAYERED;
    if (d->Width == 0)
        return SIM_SHAPE_NONE;
    if (d->Flags & CUDA_ARRAY3D_CUBEMAP) {
        if (d->Width != d->Height || d->Depth == 0 || (layered ? d->Depth % 6 != 0 : d->Depth != 6))
            return SIM_SHAPE_NONE;
        return layered ? SIM_SHAPE_CUBEMAP_LAYERED : SIM_SHAPE_CUBEMAP;
    }
    if (layered)
        return d->Depth == 0 ? SIM_SHAPE_NONE : d->Height ? SIM_SHAPE_2D_LAYERED : SIM_SHAPE_1D_LAYERED;
    if (d->Height == 0)
        return d->Depth == 0 ? SIM_SHAPE_1D : SIM_SHAPE_NONE;
    return d->Depth == 0 ? SIM_SHAPE_2D : SIM_SHAPE_3D;
}

/* Numbers of the device attributes that bound width, height and depth; 0: the shape has no such extent. */
struct limits {
    int width, height, depth;
};

static const struct limits texture_limits[] = {
    [SIM_SHAPE_1D] = {21, 0, 0},
    [SIM_SHAPE_2D] = {22, 23, 0},
    [SIM_SHAPE_3D] = {24, 25, 26},
    [SIM_SHAPE_1D_LAYERED] = {42, 0, 43},
    [SIM_SHAPE_2D_LAYERED] = {27, 28, 29},
    [SIM_SHAPE_CUBEMAP] = {52, 52, 0},
    [SIM_SHAPE_CUBEMAP_LAYERED] = {53, 53, 54},
};
static const struct limits surface_limits[] = {
    [SIM_SHAPE_1D] = {55, 0, 0},
    [SIM_SHAPE_2D] = {56, 57, 0},
    [SIM_SHAPE_3D] = {58, 59, 60},
    [SIM_SHAPE_1D_LAYERED] = {61, 0, 62},
    [SIM_SHAPE_2D_LAYERED] = {63, 64, 65},
    [SIM_SHAPE_CUBEMAP] = {66, 66, 0},
    [SIM_SHAPE_CUBEMAP_LAYERED] = {67, 67, 68},
};
static const struct limits alternate_3d = {47, 48, 49}, gather = {45, 46, 0}, mipmapped_1d = {77, 0, 0},
                           mipmapped_2d = {73, 74, 0};

static bool within(CUdevice device, const CUDA_ARRAY3D_DESCRIPTOR *d, const struct limits *limits)
{
    const int attribute[] = {limits->width, limits->height, limits->depth};
    const size_t extent[] = {d->Width, d->Height, d->Depth};
    for (int i = 0; i < 3; i++) {
        int most;
        if (attribute[i] &&
            (sim_device_attribute(device, attribute[i], &most) != CUDA_SUCCESS || extent[i] > (size_t)most))
            return false;
    }
    return true;
}

static bool extents_fit(CUdevice device, const CUDA_ARRAY3D_DESCRIPTOR *d, enum sim_shape shape,
                        bool mipmapped)
{
    const struct limits *limits = &texture_limits[shape];
    if (d->Flags & CUDA_ARRAY3D_TEXTURE_GATHER)
        limits = &gather;
    else if (mipmapped && shape == SIM_SHAPE_1D)
        limits = &mipmapped_1d;
    else if (mipmapped && shape == SIM_SHAPE_2D)
        limits = &mipmapped_2d;
    if (!within(device, d, limits) && !(shape == SIM_SHAPE_3D && within(device, d, &alternate_3d)))
        return false;
    return !(d->Flags & CUDA_ARRAY3D_SURFACE_LDST) || within(device, d, &surface_limits[shape]);
}

CUresult sim_shape_check(CUdevice device, const CUDA_ARRAY3D_DESCRIPTOR *d, bool mipmapped)
{
    const struct sim_format *format = sim_format_find(d->Format);
    enum sim_shape shape = sim_shape_of(d);
    unsigned late = d->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING);
    if (!format || !sim_format_element(format, d->NumChannels) || shape == SIM_SHAPE_NONE ||
        (d->Flags & ~ALL_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    if ((d->Flags & CUDA_ARRAY3D_TEXTURE_GATHER) && shape != SIM_SHAPE_2D)
        return CUDA_ERROR_INVALID_VALUE;
    if (late == (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING) ||
        (late && shape != SIM_SHAPE_2D && shape != SIM_SHAPE_2D_LAYERED && shape != SIM_SHAPE_3D))
        return CUDA_ERROR_INVALID_VALUE;
    if (format->planes > 1 && (shape != SIM_SHAPE_2D || mipmapped || (late & CUDA_ARRAY3D_SPARSE) ||
                               d->Width % (1u << format->chroma_x) || d->Height % (1u << format->chroma_y)))
        return CUDA_ERROR_INVALID_VALUE;
    return extents_fit(device, d, shape, mipmapped) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* -------- layout -------- */

static uint64_t round_up(uint64_t value, uint64_t grain)
{
    return (value + grain - 1) / grain * grain;
}

static struct sim_layout lay_out(const CUDA_ARRAY3D_DESCRIPTOR *d, uint32_t element_bytes, unsigned block)
{
    struct sim_layout l = {.element_bytes = element_bytes,
                           .columns = (d->Width + block - 1) / block,
                           .rows = d->Height ? (d->Height + block - 1) / block : 1,
                           .slices = d->Depth ? d->Depth : 1};
    uint64_t blocks = 1;
    while (blocks < MAX_BLOCKS && blocks * BLOCK_ROWS < l.rows)
        blocks *= 2;
    l.pitch = round_up(l.columns * element_bytes, d->Height ? ROW_BYTES : ROW_BYTES * BLOCK_ROWS);
    l.slice = d->Height ? l.pitch * round_up(l.rows, blocks * BLOCK_ROWS) : l.pitch;
    l.bytes = l.slice * l.slices;
    return l;
}

struct sim_layout sim_layout_of_plane(CUDA_ARRAY3D_DESCRIPTOR *d, unsigned plane)
{
    const struct sim_format *format = sim_format_find(d->Format);
    d->Format = format->channel_bytes == 1 ? CU_AD_FORMAT_UNSIGNED_INT8 : CU_AD_FORMAT_UNSIGNED_INT16;
    d->NumChannels = 1;
    if (plane > 0) {
        d->Width >>= format->chroma_x;
        d->Height >>= format->chroma_y;
        d->NumChannels = format->chroma_channels;
    }
    return lay_out(d, format->channel_bytes * d->NumChannels, 1);
}

struct sim_layout sim_layout_of(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    const struct sim_format *format = sim_format_find(d->Format);
    struct sim_layout whole = lay_out(d, sim_format_element(format, d->NumChannels), format->block);
    if (format->planes > 1) {
        whole.bytes = 0;
        for (unsigned plane = 0; plane < format->planes; plane++) {
            CUDA_ARRAY3D_DESCRIPTOR part = *d;
            whole.bytes += sim_layout_of_plane(&part, plane).bytes;
        }
    }
    return whole;
}

/* -------- levels -------- */

unsigned sim_shape_levels(const CUDA_ARRAY3D_DESCRIPTOR *d)
{
    size_t most = d->Width > d->Height ? d->Width : d->Height;
    if (!sim_shape_layered(d) && d->Depth > most)
        most = d->Depth;
    unsigned levels = 1;
    while (most >>= 1)
        levels++;
    return levels;
}

static size_t halve(size_t extent, unsigned times)
{
    return extent == 0 ? 0 : extent >> times ? extent >> times : 1;
}

CUDA_ARRAY3D_DESCRIPTOR sim_shape_level(const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned level)
{
    CUDA_ARRAY3D_DESCRIPTOR part = *d;
    part.Width = halve(d->Width, level);
    part.Height = halve(d->Height, level);
    if (!sim_shape_layered(d))
        part.Depth = halve(d->Depth, level);
    return part;
}
