/* array.h -- arrays: what they look like, how they lie in memory, and what they take of it.
 *
 * Physical size.  The hardware keeps an array in blocks of 64 bytes x 8 rows, up to 16 of them on top of each other: a
 * row is rounded up to 64 bytes, a slice to the rows of its blocks (the smallest power of two of them that holds the
 * height), and the whole to pages of 64 KiB.  Inside that the bytes lie row by row here, which no program can see.
 *
 * All objects are linked into one list and changed under sim_memory_lock. */
#ifndef SIM_ARRAY_H
#define SIM_ARRAY_H

#include "array_types.h"
#include "sim.h"

#define SIM_ARRAY_PAGE (64ull << 10)
#define SIM_MAX_LEVELS 18
#define SIM_MAX_PLANES 3

struct sim_format {
    int value;
    uint8_t channel_bytes, channels, block, planes, chroma_x, chroma_y, chroma_channels;
};

/* NULL: no such format. */
const struct sim_format *sim_format_find(int value);
/* Bytes of one element (of a block of 4 x 4 texels), 0 when the format has no such number of channels. */
uint32_t sim_format_element(const struct sim_format *format, unsigned channels);

enum sim_shape {
    SIM_SHAPE_1D,
    SIM_SHAPE_2D,
    SIM_SHAPE_3D,
    SIM_SHAPE_1D_LAYERED,
    SIM_SHAPE_2D_LAYERED,
    SIM_SHAPE_CUBEMAP,
    SIM_SHAPE_CUBEMAP_LAYERED,
    SIM_SHAPE_NONE
};

struct sim_layout {
    uint32_t element_bytes;
    uint64_t columns, rows, slices; /* in elements; at least 1 each */
    uint64_t pitch, slice;          /* bytes from row to row, from slice to slice */
    uint64_t bytes;
};

enum sim_shape sim_shape_of(const CUDA_ARRAY3D_DESCRIPTOR *desc);
/* INVALID_VALUE unless an array, or a mipmapped one, of that kind can exist on the device. */
CUresult sim_shape_check(CUdevice device, const CUDA_ARRAY3D_DESCRIPTOR *desc, bool mipmapped);
struct sim_layout sim_layout_of(const CUDA_ARRAY3D_DESCRIPTOR *desc);
/* The same for one plane of a planar format; the descriptor becomes the plane's. */
struct sim_layout sim_layout_of_plane(CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned plane);
/* The most levels that it can have. */
unsigned sim_shape_levels(const CUDA_ARRAY3D_DESCRIPTOR *desc);
CUDA_ARRAY3D_DESCRIPTOR sim_shape_level(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned level);
static inline bool sim_shape_layered(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    return desc->Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP);
}

/* The memory of an array, or of all levels of a mipmapped one. */
struct sim_storage {
    uint64_t base, bytes;
    CUdevice device;
    unsigned flags; /* CUDA_ARRAY3D_ */
    bool charged;   /* else memory is mapped to it: sparse.c */
    uint64_t
        tile_count; /* 64 KiB each, in the order of level, layer, place; deferred mapping: one for the whole */
    uint64_t mapped_tiles; /* that have memory */
    void **tile; /* by whose physical memory each is backed, NULL: none; made with the first mapping */
};

struct sim_array {
    uint32_t magic;
    bool part; /* a level or a plane: it goes with the whole */
    struct sim_context *context;
    CUDA_ARRAY3D_DESCRIPTOR desc;
    const struct sim_format *format;
    struct sim_layout layout;
    char *base;
    struct sim_storage *storage;
    struct sim_array *plane[SIM_MAX_PLANES]; /* of a planar format, once asked for */
    struct sim_array *next, **link;
};

struct sim_mipmap {
    uint32_t magic;
    uint32_t levels;
    struct sim_context *context;
    CUDA_ARRAY3D_DESCRIPTOR desc;
    struct sim_storage *storage;
    struct sim_array *level[SIM_MAX_LEVELS];
    struct sim_mipmap *next, **link;
};

/* storage.c: memory for so many bytes, charged unless the flags say sparse or deferred. */
CUresult sim_storage_open(struct sim_context *ctx, uint64_t bytes, unsigned flags, struct sim_storage **out);
void sim_storage_close(struct sim_storage *storage);

/* A level or a plane inside of memory that another object owns; NULL: no memory. */
struct sim_array *sim_array_part(struct sim_context *ctx, const CUDA_ARRAY3D_DESCRIPTOR *desc,
                                 struct sim_layout layout, char *base, struct sim_storage *storage);
void sim_array_free(struct sim_array *array);
/* All of a context's, when it goes. */
void sim_arrays_forget(struct sim_context *ctx);
void sim_mipmaps_forget(struct sim_context *ctx);
void sim_textures_forget(struct sim_context *ctx);
/* Does a copy find memory there?  An array whose mapping is deferred has none before it is mapped. */
bool sim_array_copyable(const struct sim_array *array);

/* sparse.c */
struct sim_tiling {
    uint32_t width, height, depth;        /* of a tile, in elements */
    uint32_t tail_level;                  /* the first one in the tail; = levels: none */
    uint64_t level_tiles[SIM_MAX_LEVELS]; /* of one layer */
    uint64_t tail_tiles;                  /* of one layer */
    uint64_t layer_tiles, layers;
};

struct sim_tiling sim_tiling_of(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels);
/* vmm.c, under sim_memory_lock: one more mapping of a tile pool's memory on that device, which reaches to `end` there. */
CUresult sim_physical_hold(CUmemGenericAllocationHandle handle, CUdevice device, uint64_t end, void **held);
void sim_physical_let_go(void *held);

/* Give back what is mapped to it. */
void sim_tiles_drop(struct sim_storage *storage);

#endif
