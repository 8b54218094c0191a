/* contexts.c -- what a context takes by existing, in every way to make one, and what makes it grow. */
#include "probe.h"

#include <string.h>
#include <unistd.h>

enum { STACK_SIZE = 0, HEAP_SIZE = 2, SM = 1, DEFAULT_STREAM = 1 };

int context_old(const struct door *door)
{
    return CALL(door->name, A(held.object), 0, (word)device);
}

int context_v3(const struct door *door)
{
    return CALL(door->name, A(held.object), 0, 0, 0, (word)device);
}

int context_v4(const struct door *door)
{
    return CALL(door->name, A(held.object), 0, 0, (word)device);
}

int context_for_video(const struct door *door)
{
    return CALL(door->name, A(held.object), 0, (word)device, 0, 0);
}

int destroy_context(const struct way *way)
{
    return CALL(way->name, held.object);
}

int attach_context(const struct door *door)
{
    return CALL(door->name, A(held.object), 0);
}

int primary(const struct door *door)
{
    return CALL(door->name, A(held.object), (word)device);
}

int leave_primary(const struct way *way)
{
    return CALL(way->name, (word)device);
}

/* -------- green contexts -------- */

/* CUdevResource of any version. */
struct resource {
    int type;
    char rest[700];
};

int green(const struct door *door)
{
    struct resource all = {0};
    word description = 0;
    return DO(cuDeviceGetDevResource, (word)device, A(all), SM)
               ?: DO(cuDevResourceGenerateDesc, A(description), A(all), 1)
               ?: CALL(door->name, A(held.object), description, (word)device, DEFAULT_STREAM);
}

int green_there(void)
{
    return green(&(struct door){.name = "cuGreenCtxCreate"});
}

int from_green(const struct door *door)
{
    return CALL(door->name, A(held.more[0]), held.object);
}

int destroy_green(const struct way *way)
{
    return CALL(way->name, held.object);
}

/* -------- limits -------- */

static int raise(const char *name, unsigned limit, size_t value)
{
    return DO(cuCtxGetLimit, A(held.bytes), limit) ?: CALL(name, limit, value);
}

int raise_heap(const struct door *door)
{
    return raise(door->name, HEAP_SIZE, 64 * MIB);
}

int raise_stack(const struct door *door)
{
    return raise(door->name, STACK_SIZE, 2 * KIB);
}

int lower_heap(const struct way *way)
{
    return CALL(way->name, HEAP_SIZE, held.bytes);
}

int lower_stack(const struct way *way)
{
    return CALL(way->name, STACK_SIZE, held.bytes);
}

/* -------- checkpoints: what was parked comes back -------- */

int parked_there(void)
{
    word pid = (word)getpid();
    return DO(cuMemAlloc_v2, A(held.object), PIECE)
               ?: DO(cuCheckpointProcessLock, pid, 0) ?: DO(cuCheckpointProcessCheckpoint, pid, 0);
}

int restore(const struct door *door)
{
    word pid = (word)getpid();
    return CALL(door->name, pid, 0) ?: DO(cuCheckpointProcessUnlock, pid, 0);
}
