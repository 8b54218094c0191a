/* tensor_map.c -- tensor maps: 128 opaque bytes that describe a tensor to the copy hardware of compute capability 9.
 *
 * The checks are those of the documentation; the bytes are of this simulator's own making. */
#include "sim.h"

#include <string.h>

#define MAX_RANK 5

enum type {
    UINT8,
    UINT16,
    UINT32,
    INT32,
    UINT64,
    INT64,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    BFLOAT16,
    FLOAT32_FTZ,
    TFLOAT32,
    TFLOAT32_FTZ,
    PACKED_U4_ALIGN8,
    PACKED_U4_ALIGN16,
    PACKED_U6_ALIGN16,
    TYPES
};
enum interleave { INTERLEAVE_NONE, INTERLEAVE_16B, INTERLEAVE_32B };
enum swizzle { SWIZZLE_NONE, SWIZZLE_32B, SWIZZLE_64B, SWIZZLE_128B, ATOM_32B, ATOM_32B_FLIP_8B, ATOM_64B };

static const uint8_t bits_of[TYPES] = {8, 16, 32, 32, 64, 64, 16, 32, 64, 16, 32, 32, 32, 4, 4, 6};

#define MARK 0x70616d5f6f736e74ull

typedef struct {
    uint64_t mark, address;
    uint64_t dim[MAX_RANK], stride[MAX_RANK - 1];
    uint16_t box[MAX_RANK], step[MAX_RANK];
    uint8_t type, rank, interleave, swizzle, promotion, fill, im2col, alignment;
} tensor_map;

_Static_assert(sizeof(tensor_map) <= 128, "CUtensorMap");

static bool is_float(unsigned type)
{
    return (type >= FLOAT16 && type <= FLOAT64) || (type >= BFLOAT16 && type <= TFLOAT32_FTZ);
}

static bool wide_packed(unsigned type)
{
    return type == PACKED_U4_ALIGN16 || type == PACKED_U6_ALIGN16;
}

/* Where the inner side of the box must end for that pattern, in bytes. */
static uint64_t span_of(unsigned swizzle)
{
    return swizzle == SWIZZLE_32B ? 32 : swizzle == SWIZZLE_64B ? 64 : 128;
}

static bool swizzle_fits(const tensor_map *map)
{
    switch (map->type) {
    case PACKED_U6_ALIGN16:
        return map->interleave == INTERLEAVE_NONE &&
               (map->swizzle == SWIZZLE_NONE || map->swizzle == SWIZZLE_128B || map->swizzle == ATOM_32B ||
                map->swizzle == ATOM_64B);
    case PACKED_U4_ALIGN16:
        return map->swizzle == SWIZZLE_NONE || map->swizzle == SWIZZLE_128B || map->swizzle == ATOM_32B;
    default:
        return map->interleave != INTERLEAVE_32B || map->swizzle == SWIZZLE_32B;
    }
}

/* What both forms have in common.  `inner`: elements of the box along dimension 0. */
static CUresult encode(struct sim_context *ctx, void *out, tensor_map *map, const uint64_t *dim,
                       const uint64_t *stride, const uint32_t *step, uint64_t inner)
{
    const struct sim_profile *profile = &sim_device_of(ctx->device)->profile;
    uint64_t grain = map->interleave == INTERLEAVE_32B || wide_packed(map->type) ? 32 : 16;
    uint64_t inner_bytes = inner * bits_of[map->type] / 8;
    if (profile->compute_major < 9)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!dim || (!stride && map->rank > 1) || !step || map->address == 0 || map->address % grain ||
        !swizzle_fits(map) || (map->fill && !is_float(map->type)))
        return CUDA_ERROR_INVALID_VALUE;
    if (wide_packed(map->type) ? dim[0] % 128 || inner != 128 : map->type == PACKED_U4_ALIGN8 && dim[0] % 2)
        return CUDA_ERROR_INVALID_VALUE;
    if (map->interleave == INTERLEAVE_NONE && map->swizzle != SWIZZLE_NONE &&
        inner_bytes > span_of(map->swizzle))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < map->rank; i++) {
        bool ignored = i == 0 && map->interleave == INTERLEAVE_NONE;
        if (dim[i] == 0 || dim[i] > 1ull << 32 || (!ignored && (step[i] == 0 || step[i] > 8)))
            return CUDA_ERROR_INVALID_VALUE;
        map->dim[i] = dim[i];
        map->step[i] = (uint16_t)step[i];
    }
    for (unsigned i = 0; i + 1 < map->rank; i++) {
        if (stride[i] % grain || stride[i] >= 1ull << 40)
            return CUDA_ERROR_INVALID_VALUE;
        map->stride[i] = stride[i];
    }
    map->mark = MARK;
    map->alignment = (uint8_t)grain;
    memset(out, 0, 128);
    memcpy(out, map, sizeof(*map));
    return CUDA_SUCCESS;
}

static CUresult check_kinds(const void *out, unsigned type, unsigned interleave, unsigned swizzle,
                            unsigned promotion, unsigned fill)
{
    return out && (uint64_t)out % 64 == 0 && type < TYPES && interleave <= INTERLEAVE_32B &&
                   swizzle <= ATOM_64B && promotion <= 3 && fill <= 1
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuTensorMapEncodeTiled, (void *out, unsigned type, uint32_t rank, void *address, const uint64_t *dim,
                                 const uint64_t *stride, const uint32_t *box, const uint32_t *step,
                                 unsigned interleave, unsigned swizzle, unsigned promotion, unsigned fill))
{
    SIM_ENTER_CONTEXT(cuTensorMapEncodeTiled, ctx);
    SIM_TRY(check_kinds(out, type, interleave, swizzle, promotion, fill));
    if (rank == 0 || rank > MAX_RANK || (interleave != INTERLEAVE_NONE && rank < 3) || !box)
        return CUDA_ERROR_INVALID_VALUE;
    tensor_map map = {.address = (uint64_t)address,
                      .type = (uint8_t)type,
                      .rank = (uint8_t)rank,
                      .interleave = (uint8_t)interleave,
                      .swizzle = (uint8_t)swizzle,
                      .promotion = (uint8_t)promotion,
                      .fill = (uint8_t)fill};
    for (unsigned i = 0; i < rank; i++) {
        if (box[i] == 0 || box[i] > 256)
            return CUDA_ERROR_INVALID_VALUE;
        map.box[i] = (uint16_t)box[i];
    }
    if (interleave == INTERLEAVE_NONE && box[0] * bits_of[type] % 128)
        return CUDA_ERROR_INVALID_VALUE;
    return encode(ctx, out, &map, dim, stride, step, box[0]);
}

/* The corners' offsets have fewer bits the more of them there are. */
static bool corners_fit(const int *lower, const int *upper, unsigned offsets)
{
    int most = offsets == 1 ? 32767 : offsets == 2 ? 127 : 15;
    if (!lower || !upper)
        return false;
    for (unsigned i = 0; i < offsets; i++)
        if (lower[i] < -most - 1 || lower[i] > most || upper[i] < -most - 1 || upper[i] > most)
            return false;
    return true;
}

SIM_API(cuTensorMapEncodeIm2col,
        (void *out, unsigned type, uint32_t rank, void *address, const uint64_t *dim, const uint64_t *stride,
         const int *lower, const int *upper, uint32_t channels, uint32_t pixels, const uint32_t *step,
         unsigned interleave, unsigned swizzle, unsigned promotion, unsigned fill))
{
    SIM_ENTER_CONTEXT(cuTensorMapEncodeIm2col, ctx);
    SIM_TRY(check_kinds(out, type, interleave, swizzle, promotion, fill));
    if (rank < 3 || rank > MAX_RANK || !corners_fit(lower, upper, rank - 2) || channels == 0 ||
        channels > 256 || pixels == 0 || pixels > 1024)
        return CUDA_ERROR_INVALID_VALUE;
    tensor_map map = {.address = (uint64_t)address,
                      .type = (uint8_t)type,
                      .rank = (uint8_t)rank,
                      .interleave = (uint8_t)interleave,
                      .swizzle = (uint8_t)swizzle,
                      .promotion = (uint8_t)promotion,
                      .fill = (uint8_t)fill,
                      .im2col = 1,
                      .box = {(uint16_t)channels, (uint16_t)pixels}};
    return encode(ctx, out, &map, dim, stride, step, channels);
}

SIM_API(cuTensorMapReplaceAddress, (void *out, void *address))
{
    SIM_ENTER_CONTEXT(cuTensorMapReplaceAddress, ctx);
    tensor_map map;
    if (!out || (uint64_t)out % 64 || !address)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&map, out, sizeof(map));
    if (map.mark != MARK || (uint64_t)address % map.alignment)
        return CUDA_ERROR_INVALID_VALUE;
    map.address = (uint64_t)address;
    memcpy(out, &map, sizeof(map));
    return CUDA_SUCCESS;
}
