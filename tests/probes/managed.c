/* managed.c -- what moves managed memory: it was charged when it was allocated. */
#include "probe.h"

enum { TO_HOST = -1, PREFERRED_LOCATION = 3 };

static const struct location host = {2, 0};

int managed_there(void)
{
    return DO(cuMemAllocManaged, A(held.object), PIECE, 1);
}

int prefetch(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, (word)TO_HOST, 0)
               ?: DO(cuCtxSynchronize)
               ?: CALL(door->name, held.object, PIECE, (word)device, 0)
               ?: DO(cuCtxSynchronize);
}

/* A location is passed by value: eight bytes, one word. */
static word packed(struct location location)
{
    return (word)(unsigned)location.id << 32 | (unsigned)location.type;
}

static struct location here(void)
{
    return (struct location){1, device};
}

int prefetch_v2(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, packed(host), 0, 0)
               ?: DO(cuCtxSynchronize)
               ?: CALL(door->name, held.object, PIECE, packed(here()), 0, 0)
               ?: DO(cuCtxSynchronize);
}

/* Batches go into streams of their own. */
static int batch(const char *name, struct location to)
{
    size_t bytes = PIECE, first = 0;
    word stream = 0;
    int code = DO(cuStreamCreate, A(stream), 1)
                   ?: CALL(name, A(held.object), A(bytes), 1, A(to), A(first), 1, 0, stream)
                   ?: DO(cuStreamSynchronize, stream);
    if (stream)
        DO(cuStreamDestroy_v2, stream);
    return code;
}

int prefetch_batch(const struct door *door)
{
    return batch(door->name, host) ?: batch(door->name, here());
}

int discard_batch(const struct door *door)
{
    size_t bytes = PIECE;
    word stream = 0;
    int code = DO(cuStreamCreate, A(stream), 1) ?: CALL(door->name, A(held.object), A(bytes), 1, 0, stream)
                                                ?: DO(cuStreamSynchronize, stream);
    if (stream)
        DO(cuStreamDestroy_v2, stream);
    return code;
}

int advise(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, PREFERRED_LOCATION, (word)device);
}

int advise_v2(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, PREFERRED_LOCATION, packed(here()));
}

int attach(const struct door *door)
{
    return CALL(door->name, held.stream, held.object, 0, 1) ?: DO(cuCtxSynchronize);
}

/* -------- to where it was not charged -------- */

static int another(void)
{
    int count = 1;
    DO(cuDeviceGetCount, A(count));
    return (device + 1) % count;
}

int prefetch_away(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, (word)another(), 0) ?: DO(cuCtxSynchronize);
}

int prefetch_away_v2(const struct door *door)
{
    return CALL(door->name, held.object, PIECE, packed((struct location){1, another()}), 0, 0)
               ?: DO(cuCtxSynchronize);
}

int prefetch_away_batch(const struct door *door)
{
    return batch(door->name, (struct location){1, another()});
}
