/* arrays.c -- arrays in all shapes, mipmaps, and the tiles of sparse ones. */
#include "probe.h"

enum { UINT8 = 0x01, FLOAT = 0x20, BC1 = 0x91 };
enum { LAYERED = 1, CUBEMAP = 4, SPARSE = 0x40, DEFERRED = 0x80 };
enum { TILE_POOL = 1, ON_ARRAY = 0, SPARSE_LEVEL = 0, MAP = 1, UNMAP = 2, HANDLE = 0 };

/* CUarrayMapInfo */
struct tiles {
    int resource_type;
    uint64_t resource;
    int kind;
    struct {
        unsigned level, layer, x, y, z, width, height, depth;
    } box __attribute__((aligned(8)));
    int operation, handle_type;
    uint64_t handle, offset;
    unsigned devices, flags, reserved[2];
};

int array_old(const struct door *door)
{
    struct {
        unsigned width, height;
        int format;
        unsigned channels;
    } wanted = {1000, 700, FLOAT, 4};
    return CALL(door->name, A(held.object), A(wanted));
}

int array_flat(const struct door *door)
{
    struct array wanted = {1000, 700, FLOAT, 4};
    return CALL(door->name, A(held.object), A(wanted));
}

int array_line(const struct door *door)
{
    struct array wanted = {30000, 0, FLOAT, 4};
    return CALL(door->name, A(held.object), A(wanted));
}

int array_deep_old(const struct door *door)
{
    struct {
        unsigned width, height, depth;
        int format;
        unsigned channels, flags;
    } wanted = {100, 70, 50, FLOAT, 4, 0};
    return CALL(door->name, A(held.object), A(wanted));
}

static int three(const char *name, struct array3d wanted)
{
    return CALL(name, A(held.object), A(wanted));
}

int array_deep(const struct door *door)
{
    return three(door->name, (struct array3d){100, 70, 50, FLOAT, 4, 0});
}

int array_layers(const struct door *door)
{
    return three(door->name, (struct array3d){100, 70, 50, FLOAT, 4, LAYERED});
}

int array_cube(const struct door *door)
{
    return three(door->name, (struct array3d){200, 200, 6, FLOAT, 4, CUBEMAP});
}

int array_cubes(const struct door *door)
{
    return three(door->name, (struct array3d){100, 100, 18, FLOAT, 4, CUBEMAP | LAYERED});
}

int array_blocks(const struct door *door)
{
    return three(door->name, (struct array3d){1000, 1000, 0, BC1, 4, 0});
}

int array_sparse(const struct door *door)
{
    return three(door->name, (struct array3d){2048, 2048, 0, FLOAT, 1, SPARSE});
}

int array_deferred(const struct door *door)
{
    return three(door->name, (struct array3d){2048, 2048, 0, FLOAT, 1, DEFERRED});
}

int destroy_array(const struct way *way)
{
    return CALL(way->name, held.object);
}

static int levels(const char *name, struct array3d wanted, unsigned count)
{
    return CALL(name, A(held.object), A(wanted), count);
}

int mipmap_flat(const struct door *door)
{
    return levels(door->name, (struct array3d){1000, 700, 0, FLOAT, 4, 0}, 8);
}

int mipmap_deep(const struct door *door)
{
    return levels(door->name, (struct array3d){100, 70, 50, FLOAT, 4, 0}, 5);
}

int mipmap_layers(const struct door *door)
{
    return levels(door->name, (struct array3d){100, 70, 20, FLOAT, 4, LAYERED}, 6);
}

int mipmap_sparse(const struct door *door)
{
    return levels(door->name, (struct array3d){2048, 2048, 0, FLOAT, 1, SPARSE}, 4);
}

int destroy_mipmap(const struct way *way)
{
    return CALL(way->name, held.object);
}

/* -------- tiles -------- */

int sparse_there(void)
{
    struct array3d wanted = {2048, 2048, 0, UINT8, 4, SPARSE};
    return DO(cuArray3DCreate_v2, A(held.object), A(wanted));
}

static int change_tiles(const char *name, int operation, word handle)
{
    struct tiles tiles = {.resource_type = ON_ARRAY,
                          .resource = held.object,
                          .kind = SPARSE_LEVEL,
                          .box = {.width = 256, .height = 256, .depth = 1},
                          .operation = operation,
                          .handle_type = HANDLE,
                          .handle = handle,
                          .devices = 1u << device};
    return CALL(name, A(tiles), 1, held.stream) ?: DO(cuCtxSynchronize);
}

/* What is behind a tile lives on when its handle is released. */
int map_tiles(const struct door *door)
{
    struct allocation wanted = {.type = 1, .location = {1, device}, .flags = {.usage = TILE_POOL}};
    word handle = 0;
    int code = DO(cuMemCreate, A(handle), PIECE, A(wanted), 0);
    if (code)
        return code;
    code = change_tiles(door->name, MAP, handle);
    return code ?: DO(cuMemRelease, handle);
}

int unmap_tiles(const struct way *way)
{
    return change_tiles(way->name, UNMAP, 0);
}
