/* main.c -- runs steps of a random program as it is told, and ends all that it holds.
 *
 * Usage: doors SEED THREADS RECEIVE SEND, the latter descriptors of a mailbox of all processes, or -1.  Commands, each a
 * line, each answered by a line when it is done:
 *
 *   run FROM TO   these steps, in all threads at once
 *   sync          wait for all work
 *   close         what other processes own
 *   free          all that is left but contexts
 *   leave         these
 *   calls         how often which call succeeded and failed
 *
 * With DOORS_TELL set, each call is told on stderr. */
#include "doors.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 16, MANY = 80, TRIES = 60 };

struct place places[PLACES];
int devices;

static unsigned seed;
static bool tells;

/* -------- chance -------- */

unsigned below(struct actor *a, unsigned end)
{
    return (unsigned)rand_r(&a->chance) % end;
}

bool one_in(struct actor *a, unsigned count)
{
    return below(a, count) == 0;
}

/* From a byte to 128 MiB, all orders alike; at times nothing, or absurdly much. */
uint64_t some_bytes(struct actor *a)
{
    if (one_in(a, 40))
        return one_in(a, 2) ? 0 : UINT64_MAX >> below(a, 20);
    return 1 + ((uint64_t)rand_r(&a->chance) % (1ull << (1 + below(a, 27))));
}

/* -------- what is held -------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct held *all;
static unsigned count, room;

void keep(const struct held *held)
{
    pthread_mutex_lock(&lock);
    if (count == room)
        all = realloc(all, (room = room ? 2 * room : 64) * sizeof *all);
    all[count++] = *held;
    pthread_mutex_unlock(&lock);
}

unsigned held_count(void)
{
    pthread_mutex_lock(&lock);
    unsigned now = count;
    pthread_mutex_unlock(&lock);
    return now;
}

bool take(struct actor *a, enum kind kind, int home, CUdevice device, struct held *held)
{
    bool found = false;

    pthread_mutex_lock(&lock);
    for (unsigned i = 0, first = count ? below(a, count) : 0; i < count && !found; i++) {
        struct held *here = &all[(first + i) % count];

        found = here->kind == kind && (home == ANYWHERE || here->home == home) &&
                (device < 0 || here->device == device);
        if (found) {
            *held = *here;
            *here = all[--count];
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void drop_home(int home)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < count;)
        if (all[i].home == home)
            all[i] = all[--count];
        else
            i++;
    pthread_mutex_unlock(&lock);
}

void drop_device(CUdevice device)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < count;) {
        if (all[i].device == device && all[i].kind == EXEC)
            memset(all[i].left, 0, sizeof all[i].left);
        if (all[i].device == device && (all[i].kind == ORDERED || all[i].kind == LEFT))
            all[i] = all[--count];
        else
            i++;
    }
    pthread_mutex_unlock(&lock);
}

/* -------- calls -------- */

static struct site *sites;

CUresult did(const struct actor *a, struct site *site, CUresult result)
{
    if (!atomic_exchange(&site->known, true)) {
        pthread_mutex_lock(&lock);
        site->next = sites;
        sites = site;
        pthread_mutex_unlock(&lock);
    }
    if (result == CUDA_SUCCESS)
        site->good++;
    else
        site->bad++;
    if (tells)
        fprintf(stderr, "thread %d step %d: %s %d\n", a->thread, a->step, site->name, (int)result);
    return result;
}

static void tell_calls(void)
{
    for (struct site *site = sites; site; site = site->next)
        printf("%s %u %u,", site->name, site->good, site->bad);
    printf("\n");
}

/* -------- steps -------- */

static operation *const operations[] = {
    allocate,
    allocate,
    allocate,
    free_some,
    managed_work,
    ordered_allocate,
    ordered_allocate,
    ordered_free,
    ordered_free,
    pool_make,
    pool_change,
    pool_destroy,
    physical_make,
    physical_make,
    physical_map,
    physical_unmap,
    physical_release,
    physical_retain,
    physical_share,
    physical_share,
    receive,
    receive,
    close_import,
    multicast_bind,
    array_make,
    array_destroy,
    tiles_change,
    graph_make,
    graph_capture,
    graph_launch,
    graph_launch,
    graph_destroy,
    graph_free,
    graph_trim,
    context_limit,
    green_make,
    green_destroy,
    module_load,
    module_unload,
    library_load,
    library_use,
    library_unload,
    work,
    look,
};
static operation *const endings[] = {free_some,        ordered_free,  pool_destroy,  physical_unmap,
                                     physical_release, close_import,  array_destroy, graph_destroy,
                                     graph_free,       green_destroy, module_unload, library_unload};

static struct actor actor_of(int thread, int step)
{
    uint64_t mixed = (seed * 1000003ull + (unsigned)thread) * 1000003ull + (unsigned)step;

    mixed = (mixed ^ mixed >> 31) * 0x9e3779b97f4a7c15ull;
    return (struct actor){.chance = (unsigned)(mixed >> 32), .thread = thread, .step = step};
}

/* What others have opened stays until they have closed it, and with it its context. */
static bool is_exported(struct actor *a, int home)
{
    struct held held;
    bool found = take(a, EXPORTED, home, -1, &held);

    if (found)
        keep(&held);
    return found;
}

/* A context more or less, while nobody works in it. */
static void change_place(struct actor *a, struct place *place)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

    if (pthread_rwlock_trywrlock(&place->lock))
        return;
    pthread_mutex_lock(&one_at_a_time);
    if (!place->alive)
        place_open(a, place);
    else if (!is_exported(a, home_of(place)))
        place_close(a, place);
    pthread_mutex_unlock(&one_at_a_time);
    pthread_rwlock_unlock(&place->lock);
}

static void step(struct actor *a)
{
    struct place *place = &places[below(a, (unsigned)devices * PLACES_PER_DEVICE)];

    if (one_in(a, 25) || !place->alive) {
        change_place(a, place);
        return;
    }
    if (pthread_rwlock_tryrdlock(&place->lock))
        return;
    if (place->alive && DO(cuCtxSetCurrent, place->context) == CUDA_SUCCESS) {
        a->at = place;
        a->lane = place->lane[below(a, LANES)];
        if (held_count() > MANY)
            endings[below(a, sizeof endings / sizeof *endings)](a);
        else
            operations[below(a, sizeof operations / sizeof *operations)](a);
    }
    pthread_rwlock_unlock(&place->lock);
}

struct run {
    int thread, from, to;
};

static void *run(void *data)
{
    const struct run *run = data;

    for (int i = run->from; i < run->to; i++) {
        struct actor a = actor_of(run->thread, i);

        step(&a);
    }
    return NULL;
}

static void run_all(int threads, int from, int to)
{
    struct run runs[MOST_THREADS];
    pthread_t ids[MOST_THREADS];

    for (int i = 0; i < threads; i++) {
        runs[i] = (struct run){i, from, to};
        pthread_create(&ids[i], NULL, run, &runs[i]);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

/* -------- the program -------- */

static bool begin(struct actor *a)
{
    for (int tries = 0; DO(cuInit, 0) != CUDA_SUCCESS; tries++)
        if (tries == TRIES)
            return false;
    while (DO(cuDeviceGetCount, &devices) != CUDA_SUCCESS)
        ;
    for (int i = 0; i < devices * PLACES_PER_DEVICE; i++) {
        pthread_rwlock_init(&places[i].lock, NULL);
        places[i].device = i / PLACES_PER_DEVICE;
        for (int tries = 0; i % PLACES_PER_DEVICE == 0 && tries < TRIES && !place_open(a, &places[i]);)
            tries++;
    }
    for (int tries = 0; tries < TRIES && !shared_pools_open(a);)
        tries++;
    return true;
}

int main(int argc, char **argv)
{
    int from, to, threads;
    char line[64];

    if (argc != 5)
        return 2;
    seed = (unsigned)strtoul(argv[1], NULL, 10);
    threads = atoi(argv[2]);
    mailbox(atoi(argv[3]), atoi(argv[4]));
    tells = getenv("DOORS_TELL") != NULL;
    struct actor self = actor_of(MOST_THREADS, 0), *a = &self;
    if (threads < 1 || threads > MOST_THREADS || !begin(a))
        return 1;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "run %d %d", &from, &to) == 2)
            run_all(threads, from, to);
        else if (strcmp(line, "sync\n") == 0)
            synchronise(a);
        else if (strcmp(line, "close\n") == 0)
            end_all(a, OPENED, OPENED);
        else if (strcmp(line, "free\n") == 0)
            free_all(a);
        else if (strcmp(line, "leave\n") == 0)
            leave(a);
        if (strcmp(line, "calls\n") == 0)
            tell_calls();
        else
            printf("done\n");
        fflush(stdout);
    }
    return 0;
}
