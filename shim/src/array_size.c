/* array_size.c -- the driver is asked what an array will take, before it is made.
 *
 * It tells only of arrays to which memory is mapped later.  So one is made that is the same but for that: it takes
 * nothing of the device.  Destroying it would wait for the GPU, so that it is kept until the program destroys an array
 * in the same context, which waits anyway.  What the driver said is remembered by descriptor. */
#include <string.h>

#include "array_size.h"
#include "device.h"
#include "hooks.h"
#include "ledger.h"
#include "lock.h"

#define CU_STREAM_CAPTURE_MODE_RELAXED 2

#define CUBE_FACES    6
#define MOST_CHANNELS 4
#define SMALL         64 /* texels */
#define SMALL_LEVELS  7

static struct gs_lock lock;

/* -------- what is known -------- */

#define ANSWER_BITS 6
#define ANSWERS     (1 << ANSWER_BITS)

/* A descriptor, a number of levels and a device, without padding: compared as bytes. */
struct question {
    uint64_t word[6];
};

static struct answer {
    struct question question;
    uint64_t bytes; /* 0: none yet */
} answers[ANSWERS];

static struct question question_of(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal)
{
    return (struct question){{desc->Width, desc->Height, desc->Depth,
                              (uint64_t)(unsigned int)desc->Format << 32 | desc->NumChannels,
                              (uint64_t)desc->Flags << 32 | levels, (unsigned int)ordinal}};
}

static struct answer *place_of(const struct question *question)
{
    uint64_t hash = 0;

    for (unsigned int i = 0; i < sizeof question->word / sizeof *question->word; i++)
        hash = (hash ^ question->word[i]) * 0x9e3779b97f4a7c15ull;
    return &answers[hash >> (64 - ANSWER_BITS)];
}

static uint64_t recall(const struct question *question)
{
    const struct answer *answer = place_of(question);
    uint64_t bytes = 0;

    gs_lock(&lock);
    if (!memcmp(&answer->question, question, sizeof *question))
        bytes = answer->bytes;
    gs_unlock(&lock);
    return bytes;
}

static void remember(const struct question *question, uint64_t bytes)
{
    struct answer *answer = place_of(question);

    gs_lock(&lock);
    answer->question = *question;
    answer->bytes = bytes;
    gs_unlock(&lock);
}

/* -------- arrays made to ask -------- */

#define MOST_KEPT 256

struct twin {
    uint64_t handle;
    int mipmapped;
};

/* The ledger has them too, without bytes: there they end with their context. */
static struct twin kept[MOST_KEPT];
static uint32_t kept_count; /* read without the lock, to see that there is nothing to do */

static void destroy(const struct twin *twin)
{
    if (twin->mipmapped)
        REAL(cuMipmappedArrayDestroy)((CUmipmappedArray)twin->handle);
    else
        REAL(cuArrayDestroy)((CUarray)twin->handle);
}

static void keep(const struct twin *twin)
{
    struct gs_entry entry = {.device = GS_NO_DEVICE, .kind = GS_ARRAY}, stale;
    enum gs_noted noted = GS_NOT_NOTED;
    CUcontext context = NULL;

    REAL(cuCtxGetCurrent)(&context);
    entry.owner = (uint64_t)context;
    gs_lock(&lock);
    if (kept_count < MOST_KEPT && (noted = gs_ledger_put(twin->handle, &entry, &stale)) != GS_NOT_NOTED) {
        kept[kept_count] = *twin;
        __atomic_store_n(&kept_count, kept_count + 1, __ATOMIC_RELAXED);
    }
    gs_unlock(&lock);
    if (noted == GS_NOTED_OVER) /* its context is going, and the address is given out again */
        gs_entry_release(&stale);
}

/* Takes one that is the context's to destroy; forgets those that have gone with theirs. */
static int take_one(CUcontext context, struct twin *twin)
{
    int found = 0;

    gs_lock(&lock);
    for (uint32_t i = 0; i < kept_count && !found;) {
        struct gs_entry entry;
        int known =
            gs_ledger_find(kept[i].handle, &entry) && entry.kind == GS_ARRAY && entry.device == GS_NO_DEVICE;

        if (known && entry.owner != (uint64_t)context) {
            i++;
            continue;
        }
        if (known) {
            *twin = kept[i];
            found = gs_ledger_take(twin->handle, &entry);
        }
        kept[i] = kept[kept_count - 1];
        __atomic_store_n(&kept_count, kept_count - 1, __ATOMIC_RELAXED);
    }
    gs_unlock(&lock);
    return found;
}

void gs_array_clear(CUcontext context)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    struct twin twin = {0};

    if (!__atomic_load_n(&kept_count, __ATOMIC_RELAXED))
        return;
    REAL(cuThreadExchangeStreamCaptureMode)(&mode); /* else this breaks another thread's capture */
    while (take_one(context, &twin))
        destroy(&twin);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
}

/* -------- asking -------- */

/* The same array, in the nearest shape to which memory can be mapped later: faces are layers, and a line is one row of
 * blocks.  False: no driver makes such an array. */
static int describe_twin(const CUDA_ARRAY3D_DESCRIPTOR *desc, CUDA_ARRAY3D_DESCRIPTOR *twin)
{
    int layered = !!(desc->Flags & CUDA_ARRAY3D_LAYERED);

    *twin = *desc;
    twin->Flags |= CUDA_ARRAY3D_DEFERRED_MAPPING;
    if (desc->Flags & CUDA_ARRAY3D_CUBEMAP) {
        twin->Flags = (twin->Flags & ~CUDA_ARRAY3D_CUBEMAP) | CUDA_ARRAY3D_LAYERED;
        return desc->Width == desc->Height && desc->Depth &&
               (layered ? desc->Depth % CUBE_FACES == 0 : desc->Depth == CUBE_FACES);
    }
    if (!desc->Height && (layered ? desc->Depth != 0 : !desc->Depth))
        twin->Height = 1;
    return 1;
}

/* Its handle is in *twin. */
static CUresult make(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, struct twin *twin)
{
    CUmipmappedArray mipmap;
    CUarray array;
    CUresult result =
        levels ? REAL(cuMipmappedArrayCreate)(&mipmap, desc, levels) : REAL(cuArray3DCreate_v2)(&array, desc);

    if (!result)
        *twin = (struct twin){levels ? (uint64_t)mipmap : (uint64_t)array, levels != 0};
    return result;
}

/* 0: no answer.  It is kept afterwards only: who finds it kept destroys it. */
static uint64_t ask(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal)
{
    CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {0};
    struct twin twin;
    CUresult result = make(desc, levels, &twin);

    if (result)
        return 0;
    result = levels
                 ? REAL(cuMipmappedArrayGetMemoryRequirements)(&needs, (CUmipmappedArray)twin.handle, ordinal)
                 : REAL(cuArrayGetMemoryRequirements)(&needs, (CUarray)twin.handle, ordinal);
    keep(&twin);
    if (result || needs.size >= GS_ABSURD_ARRAY)
        return 0;
    return (needs.size + GS_ARRAY_PAGE - 1) / GS_ARRAY_PAGE * GS_ARRAY_PAGE;
}

static int may_ask(void)
{
    return __atomic_load_n(&kept_count, __ATOMIC_RELAXED) < MOST_KEPT;
}

uint64_t gs_array_size(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal)
{
    uint64_t bound = gs_array_bound(desc, levels), bytes;
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUDA_ARRAY3D_DESCRIPTOR twin;
    struct question question;

    if (bound >= GS_ABSURD_ARRAY || !describe_twin(desc, &twin))
        return bound;
    question = question_of(&twin, levels, ordinal);
    bytes = recall(&question);
    if (!bytes && may_ask()) {
        REAL(cuThreadExchangeStreamCaptureMode)(&mode); /* else this breaks a capture that is going on */
        bytes = ask(&twin, levels, ordinal);
        REAL(cuThreadExchangeStreamCaptureMode)(&mode);
        if (bytes)
            remember(&question, bytes);
    }
    return bytes ? bytes : bound;
}

/* One of the same kind and of a size that every device has. */
static CUDA_ARRAY3D_DESCRIPTOR small(const CUDA_ARRAY3D_DESCRIPTOR *twin)
{
    CUDA_ARRAY3D_DESCRIPTOR desc = *twin;

    desc.Width = desc.Height = SMALL;
    if (desc.Flags & CUDA_ARRAY3D_LAYERED)
        desc.Depth = 1;
    else if (desc.Depth)
        desc.Depth = twin->Height ? SMALL : 0;
    return desc;
}

/* Makes one to see whether the driver does. */
static CUresult try(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels)
{
    struct twin twin;
    CUresult result = make(desc, levels, &twin);

    if (!result)
        keep(&twin);
    return result;
}

/* Whether the driver makes such arrays, in whatever number of channels. */
static int makes_small(const CUDA_ARRAY3D_DESCRIPTOR *twin, unsigned int levels)
{
    CUDA_ARRAY3D_DESCRIPTOR desc = small(twin);
    int is_made = 0;

    levels = levels < SMALL_LEVELS ? levels : SMALL_LEVELS;
    for (desc.NumChannels = 1; !is_made && desc.NumChannels <= MOST_CHANNELS; desc.NumChannels++)
        is_made = !try(&desc, levels);
    return is_made;
}

CUresult gs_array_refusal(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUDA_ARRAY3D_DESCRIPTOR twin;
    struct question question;
    int refuses;

    if (!describe_twin(desc, &twin))
        return CUDA_ERROR_INVALID_VALUE;
    question = question_of(&twin, levels, ordinal);
    if (recall(&question) || !may_ask()) /* of what it would not make it has told no size */
        return CUDA_SUCCESS;
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    refuses = try(&twin, levels) == CUDA_ERROR_INVALID_VALUE && makes_small(&twin, levels);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    return refuses ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

void gs_array_forget(void)
{
    lock.word = GS_LOCK_FREE;
    kept_count = 0;
}
