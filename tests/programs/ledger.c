/* ledger.c -- the shim's ledger against a plain array, by random operations; and what an operation costs.
 *
 * ledger check SEED      puts, takes and finds handles; compares with the array after each
 * ledger threads         the same handles' worth from many threads at once, each with handles of its own
 * ledger cost LIVE       nanoseconds for a pair of put and take with LIVE handles in it */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger.h"

#define HANDLES 20000
#define OWNERS  7
#define THREADS 8

static struct gs_entry shadow[HANDLES]; /* bytes == 0: not there */
static uint64_t dropped;

/* As pointers look: multiples of 512, with runs and gaps, so that probes collide. */
static uint64_t handle_of(uint64_t i)
{
    return 0x7f0000000000 + i * 512 + (i / 64) * 2097152;
}

static struct gs_entry entry_of(uint64_t bytes)
{
    return (struct gs_entry){
        .bytes = bytes, .owner = bytes % OWNERS + 1, .device = (int)(bytes % 3), .kind = GS_LINEAR};
}

static int same(const struct gs_entry *a, const struct gs_entry *b)
{
    return a->bytes == b->bytes && a->owner == b->owner && a->device == b->device && a->kind == b->kind;
}

static void drop(uint64_t handle, const struct gs_entry *entry)
{
    for (uint64_t i = 0; i < HANDLES; i++)
        if (handle_of(i) == handle && same(&shadow[i], entry)) {
            shadow[i].bytes = 0;
            dropped++;
        }
}

static int check(unsigned int seed)
{
    struct gs_entry entry, stale;
    uint64_t live = 0;

    for (int step = 0; step < 300000; step++) {
        uint64_t i = (uint64_t)rand_r(&seed) % HANDLES;
        int what = rand_r(&seed) % 8;

        if (what < 4) {
            struct gs_entry new = entry_of(1 + (uint64_t)rand_r(&seed) % 1000000);

            stale.bytes = 0;
            if (!gs_ledger_put(handle_of(i), &new, &stale) || stale.bytes != shadow[i].bytes)
                return 1;
            shadow[i] = new;
        } else if (what < 6) {
            if (gs_ledger_take(handle_of(i), &entry) != (shadow[i].bytes != 0))
                return 2;
            if (shadow[i].bytes && !same(&entry, &shadow[i]))
                return 3;
            shadow[i].bytes = 0;
        } else if (gs_ledger_find(handle_of(i), &entry) != (shadow[i].bytes != 0) ||
                   (shadow[i].bytes && !same(&entry, &shadow[i]))) {
            return 4;
        }
        if (step % 100000 == 99999) { /* an owner goes */
            uint64_t owned = 0;

            for (uint64_t j = 0; j < HANDLES; j++)
                owned += shadow[j].bytes && shadow[j].owner == 1;
            dropped = 0;
            gs_ledger_take_owned(1, drop);
            if (!owned || dropped != owned)
                return 5;
        }
    }
    for (uint64_t i = 0; i < HANDLES; i++) {
        live += shadow[i].bytes != 0;
        if (gs_ledger_take(handle_of(i), &entry) != (shadow[i].bytes != 0))
            return 6;
    }
    return live > HANDLES / 10 ? 0 : 7;
}

static void *churn(void *argument)
{
    uint64_t mine = (uint64_t)argument;
    struct gs_entry entry, stale;

    for (int round = 0; round < 50; round++) {
        for (uint64_t i = 0; i < 500; i++) {
            entry = entry_of(i + 1);
            if (gs_ledger_put(handle_of(i * THREADS + mine), &entry, &stale) != GS_NOTED)
                return (void *)1;
        }
        for (uint64_t i = 0; i < 500; i++)
            if (!gs_ledger_take(handle_of(i * THREADS + mine), &entry) || entry.bytes != i + 1)
                return (void *)1;
    }
    return NULL;
}

static int threads(void)
{
    pthread_t ids[THREADS];
    void *failed;
    int bad = 0;

    for (uint64_t i = 0; i < THREADS; i++)
        pthread_create(&ids[i], NULL, churn, (void *)i);
    for (uint64_t i = 0; i < THREADS; i++) {
        pthread_join(ids[i], &failed);
        bad |= failed != NULL;
    }
    return bad;
}

static void cost(uint64_t live)
{
    const struct gs_entry new = entry_of(1);
    struct gs_entry entry, stale;
    struct timespec from, to;
    const int pairs = 200000;

    for (uint64_t i = 0; i < live; i++)
        gs_ledger_put(handle_of(i), &new, &stale);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < pairs; i++) {
        gs_ledger_put(handle_of(live + (uint64_t)i % 100), &new, &stale);
        gs_ledger_take(handle_of(live + (uint64_t)i % 100), &entry);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%ld\n", ((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec) / pairs);
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], "check"))
        return check((unsigned int)atoi(argv[2]));
    if (argc > 1 && !strcmp(argv[1], "threads"))
        return threads();
    if (argc > 2 && !strcmp(argv[1], "cost"))
        cost(strtoull(argv[2], NULL, 10));
    return 0;
}
