/* linear.c -- linear, pitched and managed memory, and every way to free it. */
#include "probe.h"

enum { GLOBAL = 1, BY_HOST = 2 };

int linear(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE + 512);
}

int pitched(const struct door *door)
{
    word pitch = 0;
    return CALL(door->name, A(held.object), A(pitch), 1000, 6000, 4);
}

int managed(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE, GLOBAL);
}

int managed_by_host(const struct door *door)
{
    return CALL(door->name, A(held.object), PIECE, BY_HOST);
}

/* Frees of stream-ordered memory are done when the work before them is. */
int free_linear(const struct way *way)
{
    return CALL(way->name, held.object) ?: DO(cuCtxSynchronize);
}

int free_in_stream(const struct way *way)
{
    return CALL(way->name, held.object, held.stream) ?: DO(cuCtxSynchronize);
}

int end_context(const struct way *way)
{
    int code = CALL(way->name, held.context);
    held.context = code ? held.context : 0;
    return code;
}

int end_primary(const struct way *way)
{
    int code = CALL(way->name, (word)device);
    if (code)
        return code;
    DO(cuCtxSetCurrent, 0);
    held.context = 0;
    return 0;
}
