/* nothing.c -- what makes something, and takes no memory of the device for it. */
#define _GNU_SOURCE
#include "probe.h"

#include <sys/mman.h>

enum { UINT8 = 1, NV12 = 0xb0, OF_ARRAY = 0, SURFACE_LOAD_STORE = 2 };

/* -------- pinned memory of the host -------- */

int host_memory(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE);
}

int host_memory_with_flags(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE, 0);
}

int free_host(const struct way *way)
{
    return CALL(way->name, held.object);
}

int register_host(const struct door *door)
{
    void *memory = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return FAILED;
    held.object = P(memory);
    return CALL(door->name, held.object, PIECE, 0);
}

int unregister_host(const struct way *way)
{
    int code = CALL(way->name, held.object);
    munmap((void *)(uintptr_t)held.object, PIECE);
    return code;
}

/* -------- orders of work -------- */

int stream(const struct door *door)
{
    return CALL(door->name, A(held.object), 1, 0);
}

int destroy_stream(const struct way *way)
{
    return CALL(way->name, held.object);
}

int event(const struct door *door)
{
    return CALL(door->name, A(held.object), 0);
}

int destroy_event(const struct way *way)
{
    return CALL(way->name, held.object);
}

/* -------- descriptions of arrays -------- */

/* CUDA_RESOURCE_DESC, CUDA_TEXTURE_DESC */
struct resource {
    int type;
    union {
        word array;
        int room[32];
    };
    unsigned flags;
};
struct texture {
    int address[3], filter;
    unsigned flags, anisotropy;
    int mipmap_filter;
    float levels[3], border[4];
    int reserved[12];
};

int array_there(void)
{
    struct array3d wanted = {256, 256, 0, UINT8, 4, SURFACE_LOAD_STORE};
    return DO(cuArray3DCreate_v2, A(held.more[0]), A(wanted));
}

int texture(const struct door *door)
{
    struct resource from = {.type = OF_ARRAY, .array = held.more[0]};
    struct texture how = {0};
    return CALL(door->name, A(held.object), A(from), A(how), 0);
}

int destroy_texture(const struct way *way)
{
    return CALL(way->name, held.object);
}

int surface(const struct door *door)
{
    struct resource from = {.type = OF_ARRAY, .array = held.more[0]};
    return CALL(door->name, A(held.object), A(from));
}

int destroy_surface(const struct way *way)
{
    return CALL(way->name, held.object);
}

int planes_there(void)
{
    struct array3d wanted = {256, 256, 0, NV12, 3, 0};
    return DO(cuArray3DCreate_v2, A(held.object), A(wanted));
}

int array_plane(const struct door *door)
{
    return CALL(door->name, A(held.more[0]), held.object, 1);
}

int destroy_planes(const struct way *way)
{
    return CALL(way->name, held.object);
}

int levels_there(void)
{
    struct array3d wanted = {256, 256, 0, UINT8, 4, 0};
    return DO(cuMipmappedArrayCreate, A(held.object), A(wanted), 4);
}

int mipmap_level(const struct door *door)
{
    return CALL(door->name, A(held.more[0]), held.object, 2);
}

int destroy_levels(const struct way *way)
{
    return CALL(way->name, held.object);
}
