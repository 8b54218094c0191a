/* turns.h -- the virtual clock: one shared file that says what time it is and whose turn it is.
 *
 * Of all threads of all processes on one clock exactly one runs, the holder.  It runs in no time: the present
 * moves on only when it waits, to the next moment at which some thread has something to do, and that thread is the
 * next holder; among several the one with the lowest process number, then the lowest thread number.  So what a set
 * of programs does depends on nothing but themselves, and repeats exactly.
 *
 * What asks again and again would stop time, so asking has a price: SIM_PRICE_* below.
 *
 * Only the holder changes the shared words, and whoever takes over from a dead holder (watch.c).  A process lives as
 * long as it holds the record lock on the byte of its number, which the kernel drops after all its threads are
 * gone. */
#ifndef SIM_CLOCK_TURNS_H
#define SIM_CLOCK_TURNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SIM_EXPORT __attribute__((visibility("default")))

#define SIM_CLOCK_MAGIC 0x6b636f6c636d6973ull /* "simclock" */
#define SIM_FOREVER     UINT64_MAX

#define SIM_CLOCK_PROCESSES 129 /* number 0 is the conductor, the process that made the clock (conduct.c) */
#define SIM_CLOCK_THREADS   64

#define SIM_PRICE_READ  50   /* ns: a look at a clock */
#define SIM_PRICE_TRY   50   /* a lock that was not to be had */
#define SIM_PRICE_YIELD 1000 /* sched_yield, or a sleep or poll of no time: others get their turn at once */
#define SIM_MOST_OWED   5000 /* prices may add up to this much before others get theirs; a wait settles them */

enum sim_seat_state { SIM_SEAT_FREE, SIM_SEAT_EXPECTED, SIM_SEAT_TAKEN, SIM_SEAT_ENDED };

/* What a thread waits for: 0 is the clock alone.  A word in memory that processes share is known by its place in
 * its page, since they map it at different addresses: threads may be woken for nothing, as futexes may anyway. */
#define SIM_KEY_SHARED  (1ull << 63)
#define SIM_KEY_LOCK    (1ull << 62) /* of a mutex that processes share */
#define SIM_KEY_THREAD  (1ull << 61) /* the end of a thread */
#define SIM_KEY_PROCESS (1ull << 60) /* the end of a process */

struct sim_thread {
    uint64_t wake_ns; /* when it runs next; SIM_FOREVER: when woken */
    uint64_t key;
    uint64_t since;         /* order of arrival at the key */
    _Atomic uint32_t go;    /* futex, enum sim_go */
    _Atomic uint32_t runs;  /* it has noticed that it is the holder */
    _Atomic uint32_t taken; /* a thread has this number */
    uint32_t woken;         /* by somebody, not by the clock */
    uint32_t owed_ns;
    uint32_t tid;
};

enum sim_go { SIM_GO_NO, SIM_GO_YES, SIM_GO_ASLEEP };

struct sim_seat {
    _Atomic uint32_t state;
    uint32_t pid;
    uint32_t threads;        /* numbers at and above this were never used */
    _Atomic uint32_t alarm;  /* futex: wakes its watcher */
    _Atomic uint32_t watch;  /* the process, plus one, that its watcher is asked to see die */
    _Atomic uint32_t doomed; /* everybody waits for ever, and this process is the first to be told */
    _Atomic uint32_t dead;   /* seen by a watcher; buried by the holder */
    uint32_t pad;
    struct sim_thread thread[SIM_CLOCK_THREADS];
};

struct sim_clock {
    uint64_t magic;
    uint64_t size_bytes;
    uint64_t now_ns;
    uint64_t other_ns;        /* when the next thread after the holder has something to do */
    uint64_t arrivals;        /* counts `since` */
    _Atomic uint64_t turns;   /* ever; tells a watcher that things go on */
    _Atomic uint32_t holder;  /* sim_thread_number() */
    _Atomic uint32_t corpses; /* some seat is dead and not buried */
    _Atomic uint32_t joined;  /* futex: counts processes that took their seat */
    uint32_t seats;           /* numbers at and above this were never used */
    uint32_t lock_waiters;    /* threads that wait for a SIM_KEY_LOCK */
    uint32_t pad;
    pthread_mutex_t succession; /* robust: who takes over from a dead holder */
    struct sim_seat seat[SIM_CLOCK_PROCESSES];
};

/* This process's place on the clock; sim_clock is NULL where it has none. */
extern struct sim_clock *sim_clock;
extern struct sim_seat *sim_seat;
extern uint32_t sim_seat_number;
extern int sim_clock_file;
extern __thread struct sim_thread *sim_self;

/* Does the calling thread take turns?  Not before it has joined, after it has ended, in a forked child, nor in our
 * own watcher: they get the kernel's time.  A thread that pthread_create did not make is an error in `call`. */
bool sim_takes_turns(const char *call);

/* turns.c */
uint32_t sim_thread_number(const struct sim_thread *thread);
bool sim_turn_wait(uint64_t key, uint64_t until_ns); /* false: it is `until_ns`, and nobody has woken us */
uint32_t sim_turn_wake(uint64_t key, uint32_t most); /* returns how many were woken */
void sim_turn_spend(uint32_t ns); /* a price: time passes, or is owed while others have something to do */
void sim_turn_yield(void);        /* SIM_PRICE_YIELD, and what is owed */
void sim_turn_pass(void);         /* to somebody else, for good: the calling thread is gone */
void sim_turn_give(void);         /* start waiting for our turn: wake_ns and key are set... */
bool sim_turn_taken(uint64_t timeout_ns); /* ...has it come?  Waits that long of the kernel's time */
void sim_turn_park(void);                 /* until it has */
void sim_turn_succeed(uint32_t dead); /* as a watcher: the dead holder's seat is buried, the turn passed on */
void sim_turn_bury(uint32_t seat);
struct sim_thread *sim_thread_take(struct sim_seat *seat);
void sim_thread_leave(struct sim_thread *thread);

static inline uint64_t sim_key_private(const void *word)
{
    return (uint64_t)(uintptr_t)word & ~(0xffull << 56);
}

static inline uint64_t sim_key_shared(const void *word)
{
    return SIM_KEY_SHARED | ((uint64_t)(uintptr_t)word & 4095);
}

/* member.c: the first act of a new thread: it waits for its turn. */
void sim_thread_begin(struct sim_thread *thread);

/* time.c: a deadline of a clock that programs name, as the clock's own time; SIM_FOREVER for NULL. */
uint64_t sim_deadline_ns(clockid_t id, const struct timespec *at);

/* watch.c */
bool sim_seat_alive(uint32_t number);
bool sim_watch_start(void);
void sim_watch_stop(void);
void sim_watch_ask(uint32_t number); /* somebody else's watcher, to see this process die soon */

/* member.c: print what went wrong and end the process. */
__attribute__((noreturn, format(printf, 1, 2))) void sim_clock_fail(const char *format, ...);

#define SIM_FAIL_STATUS 70 /* EX_SOFTWARE */

#endif
