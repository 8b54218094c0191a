/* imports.c -- what another process has: it pays, and nobody else. */
#include "external.h"
#include "maker.h"
#include "probe.h"

#include <unistd.h>

enum { LAZY_PEER_ACCESS = 1, DESCRIPTOR = 1, UINT8 = 1 };

/* CUipcMemHandle, which goes by value, and CUmemPoolPtrExportData */
static struct token {
    char bytes[64];
} token;

int ipc_there(void)
{
    int descriptor;
    return maker_make("linear", &token, sizeof(token), &descriptor);
}

int open_ipc(const struct door *door)
{
    int (*call)(word *, struct token, unsigned);
    *(void **)&call = driver_function(door->name);
    return call ? call(&held.object, token, LAZY_PEER_ACCESS) : ABSENT;
}

int close_ipc(const struct way *way)
{
    return CALL(way->name, held.object);
}

/* -------- physical memory -------- */

int physical_there(void)
{
    return maker_make("physical", NULL, 0, &held.descriptor);
}

static int imported(int code)
{
    close(held.descriptor); /* an import keeps what it needs */
    return code;
}

int import_handle(const struct door *door)
{
    return imported(CALL(door->name, A(held.object), (word)held.descriptor, DESCRIPTOR));
}

int import_there(void)
{
    return physical_there() ?: import_handle(&(struct door){.name = "cuMemImportFromShareableHandle"})
                            ?: DO(cuMemAddressReserve, A(held.more[0]), PIECE, 0, 0, 0, 0);
}

int map_import(const struct door *door)
{
    return CALL(door->name, held.more[0], PIECE, 0, held.object, 0) ?: DO(cuMemRelease, held.object);
}

int unmap_import(const struct way *way)
{
    return CALL(way->name, held.more[0], PIECE) ?: DO(cuMemAddressFree, held.more[0], PIECE);
}

/* -------- external memory: the descriptor becomes the driver's -------- */

int import_external(const struct door *door)
{
    struct external_memory wanted = {
        .type = OPAQUE_DESCRIPTOR, .descriptor = (word)held.descriptor, .bytes = PIECE};
    return CALL(door->name, A(held.object), A(wanted));
}

int destroy_external(const struct way *way)
{
    return CALL(way->name, held.object);
}

int external_there(void)
{
    return physical_there() ?: import_external(&(struct door){.name = "cuImportExternalMemory"});
}

int map_external(const struct door *door)
{
    struct external_buffer whole = {.bytes = PIECE};
    return CALL(door->name, A(held.more[0]), held.object, A(whole));
}

int free_external(const struct way *way)
{
    return CALL(way->name, held.more[0]) ?: DO(cuDestroyExternalMemory, held.object);
}

int map_external_mipmap(const struct door *door)
{
    /* CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC */
    struct {
        uint64_t offset;
        struct array3d shape;
        unsigned levels, reserved[16];
    } wanted = {.shape = {256, 256, 0, UINT8, 4, 0}, .levels = 1};
    int code = CALL(door->name, A(held.more[0]), held.object, A(wanted));
    if (code)
        DO(cuDestroyExternalMemory, held.object);
    return code;
}

int destroy_external_mipmap(const struct way *way)
{
    return CALL(way->name, held.more[0]) ?: DO(cuDestroyExternalMemory, held.object);
}

/* -------- pools -------- */

int pool_there(void)
{
    return maker_make("pool", &token, sizeof(token), &held.descriptor);
}

int import_pool(const struct door *door)
{
    return imported(CALL(door->name, A(held.more[0]), (word)held.descriptor, DESCRIPTOR, 0));
}

int destroy_import_pool(const struct way *way)
{
    return CALL(way->name, held.more[0]);
}

int pointer_there(void)
{
    return pool_there() ?: import_pool(&(struct door){.name = "cuMemPoolImportFromShareableHandle"});
}

int import_pointer(const struct door *door)
{
    return CALL(door->name, A(held.object), held.more[0], P(&token));
}

int free_import_pointer(const struct way *way)
{
    return CALL(way->name, held.object, 0) ?: DO(cuCtxSynchronize) ?: DO(cuMemPoolDestroy, held.more[0]);
}
