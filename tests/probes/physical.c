/* physical.c -- physical memory apart from its address: alive as long as anything keeps it. */
#include "external.h"
#include "probe.h"

#include <unistd.h>

enum { EXPORTABLE = 1, HOST_NUMA = 3 };

/* CUmulticastObjectProp */
struct multicast_object {
    unsigned devices;
    size_t bytes;
    uint64_t handle_types, flags;
};

static int create(const char *name, word *handle, int handle_types, struct location location)
{
    struct allocation wanted = {.type = 1, .handle_types = handle_types, .location = location};
    return CALL(name, P(handle), PIECE, A(wanted), 0);
}

static struct location here(void)
{
    return (struct location){1, device};
}

int physical(const struct door *door)
{
    return create(door->name, &held.object, 0, here());
}

int physical_shared(const struct door *door)
{
    return create(door->name, &held.object, EXPORTABLE, here());
}

int physical_of_host(const struct door *door)
{
    return create(door->name, &held.object, 0, (struct location){HOST_NUMA, 0});
}

int release_handle(const struct way *way)
{
    return CALL(way->name, held.object);
}

static int map_it(void)
{
    return DO(cuMemAddressReserve, A(held.more[0]), PIECE, 0, 0, 0, 0)
               ?: DO(cuMemMap, held.more[0], PIECE, 0, held.object, 0);
}

static int unmap_it(void)
{
    return DO(cuMemUnmap, held.more[0], PIECE) ?: DO(cuMemAddressFree, held.more[0], PIECE);
}

int release_then_unmap(const struct way *way)
{
    int code = map_it() ?: DO(cuMemRelease, held.object);
    if (code)
        return code;
    look("released, and still mapped");
    return CALL(way->name, held.more[0], PIECE) ?: DO(cuMemAddressFree, held.more[0], PIECE);
}

int unmap_then_release(const struct way *way)
{
    int code = DO(cuMemAddressReserve, A(held.more[0]), PIECE, 0, 0, 0, 0)
                   ?: CALL(way->name, held.more[0], PIECE, 0, held.object, 0)
                   ?: unmap_it();
    if (code)
        return code;
    look("unmapped, and not released");
    return DO(cuMemRelease, held.object);
}

/* Two handles of it, and a mapping, go one after the other. */
int release_retained(const struct way *way)
{
    word again = 0;
    int code = map_it() ?: CALL(way->name, A(again), held.more[0]) ?: DO(cuMemRelease, held.object);
    if (code)
        return code;
    look("released once");
    code = unmap_it();
    if (code)
        return code;
    look("unmapped, and released once");
    return DO(cuMemRelease, again);
}

/* -------- descriptors of it -------- */

int physical_exported(const struct door *door)
{
    int code = create(door->name, &held.object, EXPORTABLE, here());
    return code ? code : DO(cuMemExportToShareableHandle, A(held.descriptor), held.object, EXPORTABLE, 0);
}

static int release_first(void)
{
    int code = DO(cuMemRelease, held.object);
    if (!code)
        look("released, and a descriptor open");
    return code;
}

/* Nobody is told when a descriptor is closed: whoever asks for memory, or waits for the GPU, looks. */
static int close_it(void)
{
    size_t free = 0, total = 0;
    return close(held.descriptor) ? FAILED : DO(cuMemGetInfo_v2, A(free), A(total)) ?: DO(cuCtxSynchronize);
}

int close_descriptor(const struct way *way)
{
    (void)way; /* it made the descriptor */
    return release_first() ?: close_it();
}

int release_own_import(const struct way *way)
{
    word again = 0;
    int code = CALL(way->name, A(again), (word)held.descriptor, EXPORTABLE) ?: release_first() ?: close_it();
    if (code)
        return code;
    look("imported again, and released once");
    return DO(cuMemRelease, again);
}

static int own_external(void)
{
    struct external_memory wanted = {
        .type = OPAQUE_DESCRIPTOR, .descriptor = (word)held.descriptor, .bytes = PIECE};
    int code = DO(cuImportExternalMemory, A(held.more[0]), A(wanted)) ?: DO(cuMemRelease, held.object);
    if (!code)
        look("released, and imported as external memory");
    return code;
}

int destroy_own_external(const struct way *way)
{
    (void)way; /* one of the two */
    return own_external() ?: DO(cuDestroyExternalMemory, held.more[0]) ?: DO(cuCtxSynchronize);
}

int free_own_buffer(const struct way *way)
{
    struct external_buffer whole = {.bytes = PIECE};
    int code = own_external() ?: CALL(way->name, A(held.more[1]), held.more[0], A(whole))
                              ?: DO(cuDestroyExternalMemory, held.more[0]);
    if (code)
        return code;
    look("a buffer is left of it");
    return DO(cuMemFree_v2, held.more[1]) ?: DO(cuCtxSynchronize);
}

/* -------- multicast objects -------- */

int multicast(const struct door *door)
{
    struct multicast_object wanted = {1, PIECE, 0, 0};
    return CALL(door->name, A(held.object), A(wanted));
}

int multicast_there(void)
{
    struct multicast_object wanted = {1, PIECE, 0, 0};
    return DO(cuMulticastCreate, A(held.more[2]), A(wanted))
               ?: DO(cuMulticastAddDevice, held.more[2], (word)device);
}

/* Bound, and kept by nothing else. */
static int bound(int code)
{
    if (held.more[0])
        unmap_it();
    if (held.object)
        DO(cuMemRelease, held.object);
    return code;
}

int bind_memory(const struct door *door)
{
    return bound(create("cuMemCreate", &held.object, 0, here())
                     ?: CALL(door->name, held.more[2], 0, held.object, 0, PIECE, 0));
}

int bind_memory_v2(const struct door *door)
{
    return bound(create("cuMemCreate", &held.object, 0, here())
                     ?: CALL(door->name, held.more[2], (word)device, 0, held.object, 0, PIECE, 0));
}

static int map_to_bind(void)
{
    struct access access = {here(), 3};
    return create("cuMemCreate", &held.object, 0, here())
               ?: map_it() ?: DO(cuMemSetAccess, held.more[0], PIECE, A(access), 1);
}

int bind_address(const struct door *door)
{
    return bound(map_to_bind() ?: CALL(door->name, held.more[2], 0, held.more[0], PIECE, 0));
}

int bind_address_v2(const struct door *door)
{
    return bound(map_to_bind() ?: CALL(door->name, held.more[2], (word)device, 0, held.more[0], PIECE, 0));
}

int unbind(const struct way *way)
{
    return CALL(way->name, held.more[2], (word)device, 0, PIECE) ?: DO(cuMemRelease, held.more[2]);
}

int release_multicast(const struct way *way)
{
    return CALL(way->name, held.more[2]);
}

/* -------- addresses -------- */

int reserve_addresses(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE, 0, 0, 0, 0);
}

int free_addresses(const struct way *way)
{
    return CALL(way->name, held.object, PIECE);
}
