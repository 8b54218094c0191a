/* end.c -- waits for all work, and ends all that the program holds. */
#include "doors.h"

enum { TRIES = 60 };

static bool end(struct actor *a, const struct held *held)
{
    switch (held->kind) {
    case HANDLE:
    case MAPPING:
    case MULTICAST:
    case EXTERNAL:
        return end_physical(a, held);
    case ARRAY:
    case MIPMAP:
    case SPARSE:
        return end_array(a, held);
    case EXEC:
    case LEFT:
        return end_graph(a, held);
    case MODULE:
    case LIBRARY:
    case GREEN:
        return end_context(a, held);
    default:
        return end_memory(a, held);
    }
}

void let_go(struct actor *a, const struct held *held)
{
    if (!end(a, held))
        keep(held);
}

void synchronise(struct actor *a)
{
    for (int i = 0; i < devices * PLACES_PER_DEVICE; i++)
        for (int tries = 0; places[i].alive && tries < TRIES; tries++)
            if (DO(cuCtxSetCurrent, places[i].context) == CUDA_SUCCESS &&
                DO(cuCtxSynchronize) == CUDA_SUCCESS)
                break;
    DO(cuCtxSynchronize); /* also without a context */
    DO(cuMemRelease, 0);  /* the simulated driver looks then who still has what was shared */
}

static struct held postponed[1024];
static unsigned postponed_count;

static void postpone(const struct held *held)
{
    if (postponed_count < sizeof postponed / sizeof *postponed)
        postponed[postponed_count++] = *held;
}

static struct place *some_place(void)
{
    for (int i = 0; i < devices * PLACES_PER_DEVICE; i++)
        if (places[i].alive)
            return &places[i];
    return NULL;
}

/* In its own context where it has one.  Without any context it stays for the next time. */
static void end_one(struct actor *a, const struct held *held)
{
    a->at = held->home >= 0 && places[held->home].alive ? &places[held->home] : some_place();
    if (!a->at || DO(cuCtxSetCurrent, a->at->context)) {
        postpone(held);
        return;
    }
    a->lane = a->at->lane[0];
    for (int tries = 0; tries < TRIES; tries++)
        if (end(a, held))
            return;
}

void end_all(struct actor *a, enum kind first, enum kind last)
{
    struct held held;

    for (enum kind kind = first; kind <= last; kind++)
        while (take(a, kind, ANYWHERE, -1, &held))
            end_one(a, &held);
    for (; postponed_count; postponed_count--)
        keep(&postponed[postponed_count - 1]);
}

/* What streams and graphs have of a device goes with its last context, if not before: so each gets one. */
void free_all(struct actor *a)
{
    for (int i = 0; i < devices; i++)
        for (int tries = 0; !places[i * PLACES_PER_DEVICE].alive && tries < TRIES; tries++)
            place_open(a, &places[i * PLACES_PER_DEVICE]);
    end_all(a, EXEC, EXEC);
    end_all(a, LINEAR, KINDS - 1);
    if (!held_count())
        shared_pools_close(a);
    synchronise(a);
}

void leave(struct actor *a)
{
    for (int i = devices * PLACES_PER_DEVICE - 1; i >= 0; i--)
        if (places[i].alive)
            place_close(a, &places[i]);
}
