/* turns.c -- whose turn is next, and when: choosing, handing over, waiting and waking. */
#define _GNU_SOURCE
#include "turns.h"

#include <linux/futex.h>
#include <stddef.h>

#include "raw.h"

/* On one processor a spinning thread only keeps the next holder away; handing over to a thread that has just begun
 * to wait is rare. */
#define LOOKS_BEFORE_SLEEP 1

struct sim_clock *sim_clock;
struct sim_seat *sim_seat;
uint32_t sim_seat_number;
int sim_clock_file = -1;
__thread struct sim_thread *sim_self;

static struct sim_thread *thread_of(uint32_t number)
{
    return &sim_clock->seat[number / SIM_CLOCK_THREADS].thread[number % SIM_CLOCK_THREADS];
}

uint32_t sim_thread_number(const struct sim_thread *thread)
{
    uint32_t seat = (uint32_t)(((const char *)thread - (const char *)sim_clock->seat) /
                               (ptrdiff_t)sizeof(struct sim_seat));
    return seat * SIM_CLOCK_THREADS + (uint32_t)(thread - sim_clock->seat[seat].thread);
}

/* Numbers are given again, lowest first, so that they repeat. */
struct sim_thread *sim_thread_take(struct sim_seat *seat)
{
    for (uint32_t t = 0; t < SIM_CLOCK_THREADS; t++) {
        struct sim_thread *thread = &seat->thread[t];
        if (thread->taken)
            continue;
        thread->wake_ns = sim_clock->now_ns;
        thread->key = 0;
        thread->go = SIM_GO_NO;
        thread->runs = 0;
        thread->owed_ns = 0;
        thread->tid = 0;
        if (t >= seat->threads)
            seat->threads = t + 1;
        thread->taken = 1;
        if (sim_clock->other_ns > sim_clock->now_ns)
            sim_clock->other_ns = sim_clock->now_ns;
        return thread;
    }
    return NULL;
}

static void release_key(struct sim_thread *thread)
{
    if (thread->key & SIM_KEY_LOCK)
        sim_clock->lock_waiters--;
    thread->key = 0;
}

void sim_thread_leave(struct sim_thread *thread)
{
    release_key(thread);
    thread->wake_ns = SIM_FOREVER;
    thread->taken = 0;
}

static void wake_one(struct sim_thread *thread)
{
    release_key(thread);
    thread->woken = 1;
    thread->wake_ns = sim_clock->now_ns;
    if (sim_clock->other_ns > sim_clock->now_ns)
        sim_clock->other_ns = sim_clock->now_ns;
}

/* The thread of these seats that has waited longest for the key. */
static struct sim_thread *first_at(uint64_t key, uint32_t from, uint32_t to)
{
    struct sim_thread *first = NULL;
    for (uint32_t s = from; s < to; s++) {
        struct sim_seat *seat = &sim_clock->seat[s];
        for (uint32_t t = 0; t < seat->threads; t++) {
            struct sim_thread *thread = &seat->thread[t];
            if (thread->key == key && thread->taken && (!first || thread->since < first->since))
                first = thread;
        }
    }
    return first;
}

uint32_t sim_turn_wake(uint64_t key, uint32_t most)
{
    bool ours = (key & (SIM_KEY_SHARED | SIM_KEY_THREAD | SIM_KEY_PROCESS)) == 0;
    uint32_t from = ours ? sim_seat_number : 0, to = ours ? sim_seat_number + 1 : sim_clock->seats, count = 0;
    struct sim_thread *thread;
    if (key & SIM_KEY_SHARED) { /* some may wait for another word: all look again */
        if ((key & SIM_KEY_LOCK) && sim_clock->lock_waiters == 0)
            return 0;
        most = UINT32_MAX;
    }
    for (; count < most && (thread = first_at(key, from, to)); count++)
        wake_one(thread);
    return count;
}

/* All its threads are gone: whatever waited for it, or for a lock that it held, looks again. */
void sim_turn_bury(uint32_t number)
{
    struct sim_seat *seat = &sim_clock->seat[number];
    for (uint32_t t = 0; t < seat->threads; t++) {
        seat->thread[t].taken = 0;
        seat->thread[t].key = 0;
    }
    seat->state = SIM_SEAT_ENDED;
    seat->dead = 0;
    sim_clock->lock_waiters = 0;
    for (uint32_t s = 0; s < sim_clock->seats; s++) {
        for (uint32_t t = 0; t < sim_clock->seat[s].threads; t++) {
            struct sim_thread *thread = &sim_clock->seat[s].thread[t];
            if (thread->taken &&
                ((thread->key & SIM_KEY_SHARED) || thread->key == (SIM_KEY_PROCESS | number))) {
                thread->key &= ~SIM_KEY_LOCK;
                wake_one(thread);
            }
        }
    }
}

static void bury_the_dead(void)
{
    sim_clock->corpses = 0;
    for (uint32_t s = 0; s < sim_clock->seats; s++)
        if (sim_clock->seat[s].dead)
            sim_turn_bury(s);
}

/* Returns false when nobody has anything to do, ever. */
static bool choose(uint32_t *number)
{
    uint64_t first = SIM_FOREVER, second = SIM_FOREVER;
    for (uint32_t s = 0; s < sim_clock->seats; s++) {
        const struct sim_seat *seat = &sim_clock->seat[s];
        if (seat->state != SIM_SEAT_TAKEN)
            continue;
        for (uint32_t t = 0; t < seat->threads; t++) {
            if (!seat->thread[t].taken)
                continue;
            uint64_t at = seat->thread[t].wake_ns;
            if (at < first) {
                second = first;
                first = at;
                *number = s * SIM_CLOCK_THREADS + t;
            } else if (at < second)
                second = at;
        }
    }
    if (first > sim_clock->now_ns && first != SIM_FOREVER)
        sim_clock->now_ns = first;
    sim_clock->other_ns = second;
    return first != SIM_FOREVER;
}

/* A process that has just died may be what all others wait for; and the first of those that wait for nothing is
 * told so by its watcher, which ends it. */
static bool nobody_can(uint32_t *number)
{
    for (uint32_t s = 1; s < sim_clock->seats; s++)
        if (sim_clock->seat[s].state == SIM_SEAT_TAKEN && s != sim_seat_number && !sim_seat_alive(s))
            sim_turn_bury(s);
    if (choose(number))
        return false;
    for (uint32_t s = 1; s < sim_clock->seats; s++) {
        struct sim_seat *seat = &sim_clock->seat[s];
        if (seat->state != SIM_SEAT_TAKEN)
            continue;
        *number = s * SIM_CLOCK_THREADS;
        seat->doomed = 1;
        sim_clock->holder = *number;
        seat->alarm++;
        sim_raw_futex(&seat->alarm, FUTEX_WAKE, INT32_MAX, UINT64_MAX);
        return true;
    }
    return true; /* nobody is left but the conductor, and it looks for that before it waits */
}

static void hand_to(uint32_t number)
{
    struct sim_thread *thread = thread_of(number);
    atomic_fetch_add_explicit(&sim_clock->turns, 1, memory_order_relaxed);
    atomic_store(&sim_clock->holder, number);
    if (atomic_exchange(&thread->go, SIM_GO_YES) == SIM_GO_ASLEEP)
        sim_raw_futex(&thread->go, FUTEX_WAKE, 1, UINT64_MAX);
}

/* Returns true when the turn is ours again already. */
static bool pass_on(void)
{
    uint32_t number;
    if (atomic_load_explicit(&sim_clock->corpses, memory_order_relaxed))
        bury_the_dead();
    if (!choose(&number) && nobody_can(&number))
        return false;
    if (sim_self && number == sim_thread_number(sim_self))
        return true;
    hand_to(number);
    return false;
}

bool sim_turn_taken(uint64_t timeout_ns)
{
    for (int i = 0; i < LOOKS_BEFORE_SLEEP; i++)
        if (atomic_load(&sim_self->go) == SIM_GO_YES)
            break;
    uint32_t no = SIM_GO_NO;
    if (atomic_compare_exchange_strong(&sim_self->go, &no, SIM_GO_ASLEEP) || no == SIM_GO_ASLEEP)
        sim_raw_futex(&sim_self->go, FUTEX_WAIT, SIM_GO_ASLEEP, timeout_ns);
    if (atomic_load(&sim_self->go) != SIM_GO_YES)
        return false;
    atomic_store(&sim_self->go, SIM_GO_NO);
    atomic_store(&sim_self->runs, 1);
    return true;
}

void sim_turn_park(void)
{
    while (!sim_turn_taken(UINT64_MAX))
        ; /* a signal */
}

void sim_turn_give(void)
{
    atomic_store(&sim_self->runs, 0);
    if (pass_on())
        atomic_store(&sim_self->go, SIM_GO_YES);
}

bool sim_turn_wait(uint64_t key, uint64_t until_ns)
{
    sim_self->woken = 0;
    sim_self->since = ++sim_clock->arrivals;
    sim_self->owed_ns = 0;
    sim_self->wake_ns = until_ns > sim_clock->now_ns ? until_ns : sim_clock->now_ns;
    if (key & SIM_KEY_LOCK)
        sim_clock->lock_waiters++;
    sim_self->key = key;
    atomic_store(&sim_self->runs, 0);
    if (pass_on())
        atomic_store(&sim_self->runs, 1);
    else
        sim_turn_park();
    release_key(sim_self);
    return sim_self->woken;
}

void sim_turn_spend(uint32_t ns)
{
    uint64_t until_ns = sim_clock->now_ns + (sim_self->owed_ns += ns);
    if (until_ns < sim_clock->other_ns) {
        sim_clock->now_ns = until_ns;
        sim_self->owed_ns = 0;
    } else if (sim_self->owed_ns >= SIM_MOST_OWED)
        sim_turn_wait(0, until_ns);
}

void sim_turn_yield(void)
{
    sim_turn_wait(0, sim_clock->now_ns + sim_self->owed_ns + SIM_PRICE_YIELD);
}

void sim_turn_pass(void)
{
    struct sim_thread *self = sim_self;
    sim_self = NULL;
    sim_thread_leave(self);
    pass_on();
}

void sim_turn_succeed(uint32_t dead)
{
    sim_turn_bury(dead);
    pass_on();
}
