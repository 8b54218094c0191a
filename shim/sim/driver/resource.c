/* resource.c -- a device's SMs as a resource that can be split into parts.
 *
 * The parts of one split are disjoint; a part can be split again only as the resource of a green context.  How small
 * and how even parts must be depends on the compute capability. */
#include "green.h"

#include <stdlib.h>
#include <string.h>

#define PART_MAGIC 0x70617274u
#define DESC_MAGIC 0x64657363u

enum { SPLIT_IGNORE_COSCHEDULING = 1, SPLIT_MAX_CLUSTER = 2, SPLIT_FLAGS = 3 };

_Static_assert(sizeof(CUdevResource) == 144, "as cuda.h declares it");
_Static_assert(sizeof(struct sim_part) <= 92 - 4, "fits into the padding");

uint32_t sim_sms_count(const struct sim_sms *sms)
{
    uint32_t n = 0;
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        n += (uint32_t)__builtin_popcountll(sms->word[i]);
    return n;
}

/* As the programming guide lists them: 7.x 2, 8.x 4 in pairs, 9.0 and later 8 in eights. */
static uint32_t least_part(CUdevice device)
{
    uint32_t major = sim_device_of(device)->profile.compute_major;
    return major >= 9 ? 8 : major == 8 ? 4 : 2;
}

static uint32_t alignment(CUdevice device)
{
    return sim_device_of(device)->profile.compute_major >= 9 ? 8 : 2;
}

static struct sim_part part_of(const CUdevResource *resource)
{
    struct sim_part part; /* the padding begins at offset 4 */
    memcpy(&part, resource->padding + 4, sizeof(part));
    return part;
}

static bool is_sms(const CUdevResource *resource)
{
    struct sim_part part = part_of(resource);
    return resource->type == CU_DEV_RESOURCE_TYPE_SM && part.magic == PART_MAGIC &&
           sim_device_valid((CUdevice)part.device);
}

void sim_resource_of(CUdevResource *resource, CUdevice device, const struct sim_sms *sms, uint64_t split)
{
    struct sim_part part = {PART_MAGIC, (uint32_t)device, split, *sms};
    memset(resource, 0, sizeof(*resource));
    resource->sm_count = sim_sms_count(sms);
    if (resource->sm_count == 0)
        return; /* CU_DEV_RESOURCE_TYPE_INVALID */
    resource->type = CU_DEV_RESOURCE_TYPE_SM;
    resource->min_partition = least_part(device);
    resource->coscheduled = alignment(device);
    memcpy(resource->padding + 4, &part, sizeof(part));
}

bool sim_is_desc(const struct sim_resource_desc *desc)
{
    return desc && desc->magic == DESC_MAGIC;
}

/* The first `count` of *from leave it. */
static struct sim_sms cut(struct sim_sms *from, uint32_t count)
{
    struct sim_sms taken = {{0}};
    for (uint32_t i = 0; i < SIM_MAX_SMS && count > 0; i++)
        if (from->word[i / 64] >> i % 64 & 1) {
            from->word[i / 64] &= ~(1ull << i % 64);
            taken.word[i / 64] |= 1ull << i % 64;
            count--;
        }
    return taken;
}

SIM_API(cuDeviceGetDevResource, (CUdevice device, CUdevResource *resource, int type))
{
    SIM_ENTER(cuDeviceGetDevResource);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_DEV_RESOURCE_TYPE_SM)
        return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    struct sim_sms none = {{0}}, all;
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        none.word[i] = UINT64_MAX;
    all = cut(&none, sim_device_of(device)->profile.sm_count);
    sim_resource_of(resource, device, &all, 0);
    return CUDA_SUCCESS;
}

static _Atomic uint64_t last_split;

static CUresult check_input(const CUdevResource *input)
{
    if (!input)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_sms(input))
        return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    return part_of(input).split ? CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION : CUDA_SUCCESS;
}

SIM_API(cuDevSmResourceSplitByCount, (CUdevResource * result, unsigned *groups, const CUdevResource *input,
                                      CUdevResource *remaining, unsigned flags, unsigned least))
{
    SIM_ENTER(cuDevSmResourceSplitByCount);
    if (!groups || flags & ~(unsigned)SPLIT_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_input(input));
    struct sim_part part = part_of(input);
    CUdevice device = (CUdevice)part.device;
    if (least > input->sm_count)
        return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
    if (flags & SPLIT_MAX_CLUSTER && sim_device_of(device)->profile.compute_major < 9)
        return CUDA_ERROR_INVALID_VALUE;
    bool loose = flags & SPLIT_IGNORE_COSCHEDULING; /* pairs: an SM is never without its neighbour */
    uint32_t size = loose ? 2 : least_part(device), grain = loose ? 2 : alignment(device);
    if (least > size)
        size = (least + grain - 1) / grain * grain;
    uint32_t possible = input->sm_count / size, made = result && *groups < possible ? *groups : possible;
    if (possible == 0 || (result && *groups == 0))
        return possible ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
    uint64_t split = atomic_fetch_add(&last_split, 1) + 1;
    struct sim_sms rest = part.sms;
    for (uint32_t i = 0; i < made; i++) {
        struct sim_sms sms = cut(&rest, size);
        if (result)
            sim_resource_of(&result[i], device, &sms, split);
    }
    if (remaining)
        sim_resource_of(remaining, device, &rest, split);
    *groups = made;
    return CUDA_SUCCESS;
}

/* -------- since CUDA 13.1 -------- */

#define BACKFILL 1u

struct group_params {
    unsigned sm_count, coscheduled, preferred, flags, locality, reserved[11];
};

/* How many SMs of `left` the group gets; 0 asks for all that its constraint allows. */
static CUresult size_of_group(CUdevice device, const struct group_params *g, uint32_t left, uint32_t *size)
{
    uint32_t most = sim_device_of(device)->profile.compute_major >= 9 ? 32 : 2;
    uint32_t grain = g->coscheduled ? g->coscheduled : alignment(device);
    bool backfill = g->flags & BACKFILL;
    if (g->flags & ~BACKFILL || g->sm_count % 2 || grain % 2 || grain > most)
        return CUDA_ERROR_INVALID_VALUE;
    if (!backfill && g->coscheduled && g->sm_count % grain)
        return CUDA_ERROR_INVALID_VALUE;
    *size = g->sm_count ? g->sm_count : backfill ? left : left / grain * grain;
    return *size == 0 || *size < g->coscheduled || *size > left ? CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION
                                                                : CUDA_SUCCESS;
}

SIM_API(cuDevSmResourceSplit, (CUdevResource * result, unsigned groups, const CUdevResource *input,
                               CUdevResource *remainder, unsigned flags, struct group_params *params))
{
    SIM_ENTER(cuDevSmResourceSplit);
    if (!params || groups == 0 || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_input(input));
    struct sim_part part = part_of(input);
    CUdevice device = (CUdevice)part.device;
    uint32_t left = input->sm_count, size;
    for (unsigned i = 0; i < groups; i++) {
        SIM_TRY(size_of_group(device, &params[i], left, &size));
        left -= size;
    }
    uint64_t split = atomic_fetch_add(&last_split, 1) + 1;
    struct sim_sms rest = part.sms;
    for (unsigned i = 0; i < groups; i++) {
        SIM_TRY(size_of_group(device, &params[i], sim_sms_count(&rest), &size));
        struct sim_sms sms = cut(&rest, size);
        params[i].sm_count = size;
        if (result) {
            sim_resource_of(&result[i], device, &sms, split);
            result[i].flags = params[i].flags;
        }
    }
    if (remainder)
        sim_resource_of(remainder, device, &rest, split);
    return CUDA_SUCCESS;
}

/* Nothing gives a descriptor back. */
SIM_API(cuDevResourceGenerateDesc,
        (struct sim_resource_desc * *out, CUdevResource *resources, unsigned count))
{
    SIM_ENTER(cuDevResourceGenerateDesc);
    if (!out || !resources || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_resource_desc desc = {.magic = DESC_MAGIC};
    for (unsigned i = 0; i < count; i++) {
        if (!is_sms(&resources[i]))
            return CUDA_ERROR_INVALID_RESOURCE_TYPE;
        struct sim_part first = part_of(&resources[0]), part = part_of(&resources[i]);
        if (part.device != first.device || part.split != first.split || (i > 0 && part.split == 0))
            return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
        desc.device = part.device;
        for (int w = 0; w < SIM_MAX_SMS / 64; w++)
            desc.sms.word[w] |= part.sms.word[w];
    }
    *out = malloc(sizeof(desc));
    if (!*out)
        return CUDA_ERROR_OUT_OF_MEMORY;
    **out = desc;
    return CUDA_SUCCESS;
}
