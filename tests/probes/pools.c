/* pools.c -- stream-ordered memory: from the default pool, from own ones, and what a pool keeps. */
#include "probe.h"

enum { THRESHOLD = 4 };
enum { PINNED = 1, MANAGED };

static const struct location nowhere = {0, 0}, on_host = {2, 0}, on_node = {3, 0};

int from_current(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE, held.stream);
}

int from_default(const struct door *door)
{
    word pool = 0;
    return DO(cuDeviceGetDefaultMemPool, A(pool), (word)device)
               ?: CALL(door->name, A(held.object), PIECE, pool, held.stream);
}

/* A pool that keeps what is freed; without it when the memory cannot be had. */
static int pool_at(int type, struct location where)
{
    struct pool wanted = {.type = type, .location = where};
    uint64_t forever = (uint64_t)-1;
    return DO(cuMemPoolCreate, A(held.more[0]), A(wanted))
               ?: DO(cuMemPoolSetAttribute, held.more[0], THRESHOLD, A(forever));
}

static int own_pool(void)
{
    return pool_at(PINNED, (struct location){1, device});
}

static int taken(int code)
{
    if (code && held.more[0])
        DO(cuMemPoolDestroy, held.more[0]);
    return code;
}

int from_own(const struct door *door)
{
    return taken(own_pool() ?: CALL(door->name, A(held.object), PIECE, held.more[0], held.stream));
}

/* -------- pools that are not of one device's memory -------- */

static int from_pool_at(const struct door *door, int type, struct location where)
{
    return taken(pool_at(type, where) ?: CALL(door->name, A(held.object), PIECE, held.more[0], held.stream));
}

int from_managed(const struct door *door)
{
    return from_pool_at(door, MANAGED, nowhere);
}

int from_managed_here(const struct door *door)
{
    return from_pool_at(door, MANAGED, (struct location){1, device});
}

int from_managed_of_host(const struct door *door)
{
    return from_pool_at(door, MANAGED, on_host);
}

int from_host(const struct door *door)
{
    return from_pool_at(door, PINNED, on_host);
}

int from_node(const struct door *door)
{
    return from_pool_at(door, PINNED, on_node);
}

int from_found_managed(const struct door *door)
{
    struct location where = nowhere;
    word pool = 0;
    return CALL(door->name, A(pool), A(where), MANAGED)
               ?: DO(cuMemAllocFromPoolAsync, A(held.object), PIECE, pool, held.stream);
}

int managed_pool_there(void)
{
    return taken(pool_at(MANAGED, nowhere)
                     ?: DO(cuMemAllocFromPoolAsync, A(held.object), PIECE, held.more[0], held.stream));
}

/* -------- pools that others may import, and those that are made the current one -------- */

int from_shared(const struct door *door)
{
    struct pool wanted = {.type = 1, .handle_types = 1, .location = {1, device}};
    uint64_t forever = (uint64_t)-1;
    return taken(CALL(door->name, A(held.more[0]), A(wanted))
                     ?: DO(cuMemPoolSetAttribute, held.more[0], THRESHOLD, A(forever))
                     ?: DO(cuMemAllocFromPoolAsync, A(held.object), PIECE, held.more[0], held.stream));
}

int from_own_as_current(const struct door *door)
{
    return taken(own_pool() ?: DO(cuDeviceSetMemPool, (word)device, held.more[0])
                             ?: CALL(door->name, A(held.object), PIECE, held.stream));
}

int from_own_as_current_device(const struct door *door)
{
    return taken(own_pool() ?: CALL(door->name, (word)device, held.more[0])
                             ?: DO(cuMemAllocAsync, A(held.object), PIECE, held.stream));
}

int from_own_as_current_location(const struct door *door)
{
    struct location here = {1, device};
    return taken(own_pool() ?: CALL(door->name, A(here), 1, held.more[0])
                             ?: DO(cuMemAllocAsync, A(held.object), PIECE, held.stream));
}

/* Freed, and still the pool's. */
static int free_and_keep(void)
{
    int code = DO(cuMemFreeAsync, held.object, held.stream) ?: DO(cuCtxSynchronize);
    if (!code)
        look("freed, and kept by the pool");
    return code;
}

int trim_pool(const struct way *way)
{
    return free_and_keep() ?: CALL(way->name, held.more[0], 0) ?: DO(cuMemPoolDestroy, held.more[0]);
}

int keep_no_more(const struct way *way)
{
    uint64_t nothing = 0;
    return free_and_keep() ?: CALL(way->name, held.more[0], THRESHOLD, A(nothing))
                           ?: DO(cuCtxSynchronize)
                           ?: DO(cuMemPoolDestroy, held.more[0]);
}

int destroy_pool(const struct way *way)
{
    return free_and_keep() ?: CALL(way->name, held.more[0]);
}

/* The pool is destroyed while memory of it is in use. */
int free_after_pool(const struct way *way)
{
    int code = DO(cuMemPoolDestroy, held.more[0]);
    if (code)
        return code;
    look("the pool destroyed, and its memory in use");
    return CALL(way->name, held.object, held.stream) ?: DO(cuCtxSynchronize);
}

int empty_pool(const struct door *door)
{
    struct pool wanted = {.type = 1, .location = {1, device}};
    return CALL(door->name, A(held.object), A(wanted));
}

int destroy_empty_pool(const struct way *way)
{
    return CALL(way->name, held.object);
}
