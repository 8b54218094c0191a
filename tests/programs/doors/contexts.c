/* contexts.c -- contexts, what is loaded into them, and work in them. */
#include "doors.h"

#include <stdio.h>
#include <unistd.h>

static const char text[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                           ".visible .global .align 4 .b8 word[%u];\n"
                           ".visible .entry spin(.param .u64 ns) { ret; }\n";

static bool is_primary(const struct place *place)
{
    return home_of(place) % PLACES_PER_DEVICE == 0;
}

static CUresult create(struct actor *a, struct place *place)
{
    if (is_primary(place))
        return DO(cuDevicePrimaryCtxRetain, &place->context, place->device);
    switch (below(a, 3)) {
    case 0:
        return DO(cuCtxCreate_v2, &place->context, 0, place->device);
    case 1:
        return DO(cuCtxCreate_v3, &place->context, NULL, 0, 0, place->device);
    default:
        return DO(cuCtxCreate_v4, &place->context, NULL, 0, place->device);
    }
}

bool place_open(struct actor *a, struct place *place)
{
    if (create(a, place))
        return false;
    DO(cuCtxSetCurrent, place->context);
    for (int i = 0; i < LANES; i++)
        if (DO(cuStreamCreate, &place->lane[i], i & 1))
            place->lane[i] = NULL; /* the default one does */
    place->alive = true;
    return true;
}

static CUresult destroy(struct actor *a, struct place *place)
{
    if (!is_primary(place))
        return DO(cuCtxDestroy_v2, place->context);
    if (one_in(a, 2))
        return DO(cuDevicePrimaryCtxReset_v2, place->device);
    return DO(cuDevicePrimaryCtxRelease_v2, place->device);
}

static bool is_last(const struct place *place)
{
    const struct place *first = &places[place->device * PLACES_PER_DEVICE];

    for (const struct place *other = first; other < first + PLACES_PER_DEVICE; other++)
        if (other->alive)
            return false;
    return true;
}

/* With all that is still alive in it. */
bool place_close(struct actor *a, struct place *place)
{
    enum kind explicit[] = {GREEN, EXEC};
    struct held held;

    DO(cuCtxSetCurrent, place->context);
    a->lane = place->lane[0];
    for (unsigned i = 0; i < sizeof explicit / sizeof *explicit; i++)
        for (int tries = 0; tries < 500 && take(a, explicit[i], home_of(place), -1, &held); tries++)
            let_go(a, &held);
    for (int tries = 0; place->alive && tries < 50; tries++)
        place->alive = destroy(a, place) != CUDA_SUCCESS;
    if (!place->alive)
        drop_home(home_of(place));
    if (is_last(place))
        drop_device(place->device);
    return !place->alive;
}

void context_limit(struct actor *a)
{
    static const size_t stacks[] = {512, 1024, 4096, 16384},
                        others[] = {1 << 20, 8 << 20, 33 << 20, 100 << 20};
    CUlimit limit = (CUlimit)below(a, 3);

    DO(cuCtxSetLimit, limit, limit == CU_LIMIT_STACK_SIZE ? stacks[below(a, 4)] : others[below(a, 4)]);
}

/* -------- green contexts: they live in the primary one -------- */

void green_make(struct actor *a)
{
    struct held made = {.kind = GREEN, .device = a->at->device, .home = home_of(a->at)};
    struct held memory = {
        .kind = LINEAR, .device = a->at->device, .home = home_of(a->at), .bytes = some_bytes(a)};
    CUdevResourceDesc desc;
    CUcontext context;
    Resource resource;

    if (!is_primary(a->at) || DO(cuDeviceGetDevResource, a->at->device, &resource, 1) ||
        DO(cuDevResourceGenerateDesc, &desc, &resource, 1) ||
        DO(cuGreenCtxCreate, (CUgreenCtx *)&made.handle, desc, a->at->device, 1))
        return;
    if (DO(cuCtxFromGreenCtx, &context, (CUgreenCtx)made.handle) == CUDA_SUCCESS &&
        DO(cuCtxSetCurrent, context) == CUDA_SUCCESS) {
        if (DO(cuMemAlloc_v2, &memory.handle, memory.bytes) == CUDA_SUCCESS)
            keep(&memory);
        DO(cuCtxSetCurrent, a->at->context);
    }
    keep(&made);
}

void green_destroy(struct actor *a)
{
    struct held held;

    if (take(a, GREEN, home_of(a->at), -1, &held))
        let_go(a, &held);
}

/* -------- code -------- */

static void write_image(struct actor *a, char *image, size_t room)
{
    snprintf(image, room, text, 1u << below(a, 24));
}

void module_load(struct actor *a)
{
    struct held made = {.kind = MODULE, .device = a->at->device, .home = home_of(a->at)};
    char image[sizeof text + 16];

    write_image(a, image, sizeof image);
    if (DO(cuModuleLoadData, (CUmodule *)&made.handle, image) == CUDA_SUCCESS)
        keep(&made);
}

void module_unload(struct actor *a)
{
    struct held held;

    if (take(a, MODULE, home_of(a->at), -1, &held))
        let_go(a, &held);
}

void library_load(struct actor *a)
{
    struct held made = {.kind = LIBRARY, .home = NOWHERE};
    char image[sizeof text + 16];

    write_image(a, image, sizeof image);
    if (DO(cuLibraryLoadData, (CUlibrary *)&made.handle, image, NULL, NULL, 0, NULL, NULL, 0) == CUDA_SUCCESS)
        keep(&made);
}

/* Brings it into the current context. */
void library_use(struct actor *a)
{
    struct held held;
    uint64_t ns = below(a, 300000);
    void *params[] = {&ns};
    CUdeviceptr word;
    CUkernel kernel;
    size_t bytes;

    if (!take(a, LIBRARY, ANYWHERE, -1, &held))
        return;
    if (one_in(a, 3))
        DO(cuLibraryGetGlobal, &word, &bytes, (CUlibrary)held.handle, "word");
    else if (DO(cuLibraryGetKernel, &kernel, (CUlibrary)held.handle, "spin") == CUDA_SUCCESS)
        DO(cuLaunchKernel, (CUfunction)kernel, 1, 1, 1, 32, 1, 1, 0, a->lane, params, NULL);
    keep(&held);
}

void library_unload(struct actor *a)
{
    struct held held;

    if (take(a, LIBRARY, ANYWHERE, -1, &held))
        let_go(a, &held);
}

bool end_context(struct actor *a, const struct held *held)
{
    switch (held->kind) {
    case MODULE:
        return DO(cuModuleUnload, (CUmodule)held->handle) == CUDA_SUCCESS;
    case LIBRARY:
        return DO(cuLibraryUnload, (CUlibrary)held->handle) == CUDA_SUCCESS;
    default:
        return DO(cuGreenCtxDestroy, (CUgreenCtx)held->handle) == CUDA_SUCCESS;
    }
}

/* -------- work -------- */

static void sleep_us(void *us)
{
    usleep((unsigned)(size_t)us);
}

void work(struct actor *a)
{
    DO(cuLaunchHostFunc, a->lane, sleep_us, (void *)(size_t)below(a, 1000));
}

void look(struct actor *a)
{
    size_t free_bytes, total_bytes;

    switch (below(a, 4)) {
    case 0:
        DO(cuCtxSynchronize);
        break;
    case 1:
        DO(cuStreamSynchronize, a->lane);
        break;
    case 2:
        DO(cuDeviceTotalMem_v2, &total_bytes, a->at->device);
        break;
    default:
        DO(cuMemGetInfo_v2, &free_bytes, &total_bytes);
    }
}
