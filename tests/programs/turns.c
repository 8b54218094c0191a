/* turns.c -- a program that waits in one of the ways there are, and says what happened after how many milliseconds.
 *
 *   turns SUBJECT [FILE]
 *
 * FILE is memory that processes share. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define THREADS 3

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t semaphore;
static _Atomic uint32_t word;
static int64_t began_ns;

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void say(const char *what, int64_t value)
{
    printf("%lld %s %lld\n", (long long)(clock_ns(CLOCK_MONOTONIC) - began_ns) / 1000000, what,
           (long long)value);
}

static struct timespec in_ms(clockid_t id, int64_t ms)
{
    int64_t at = clock_ns(id) + ms * 1000000;
    return (struct timespec){at / 1000000000, at % 1000000000};
}

static void start(void *(*function)(void *))
{
    pthread_t thread;
    for (intptr_t i = 0; i < THREADS; i++) {
        pthread_create(&thread, NULL, function, (void *)i);
        pthread_detach(thread);
    }
}

static void clocks(void)
{
    struct timespec ms = {0, 1000000}, at;
    struct timeval five = {0, 5000}, day;
    int64_t real = clock_ns(CLOCK_REALTIME), seconds = time(NULL);
    sleep(1);
    usleep(1000);
    nanosleep(&ms, NULL);
    at = in_ms(CLOCK_REALTIME, 10);
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL);
    poll(NULL, 0, 5);
    select(0, NULL, NULL, NULL, &five);
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ms, NULL);
    say("real", (clock_ns(CLOCK_REALTIME) - real) / 1000000);
    gettimeofday(&day, NULL);
    say("day", (day.tv_sec * 1000000000ll + day.tv_usec * 1000ll - real + 500000) / 1000000);
    say("seconds", time(NULL) - seconds);
    say("cpu", clock_ns(CLOCK_PROCESS_CPUTIME_ID) < 1000000000);
}

static void *hold_mutex(void *number)
{
    pthread_mutex_lock(&mutex);
    say("holds", (intptr_t)number);
    usleep(10000);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void mutexes(void)
{
    pthread_mutexattr_t checked;
    pthread_mutex_t own;
    struct timespec at;
    start(hold_mutex);
    usleep(1000);
    at = in_ms(CLOCK_REALTIME, 4);
    say("timed out", pthread_mutex_timedlock(&mutex, &at) == ETIMEDOUT);
    say("busy", pthread_mutex_trylock(&mutex) == EBUSY);
    say("locked", pthread_mutex_lock(&mutex));
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&own, &checked);
    pthread_mutex_lock(&own);
    say("deadlock", pthread_mutex_lock(&own) == EDEADLK);
}

static void *wait_condition(void *number)
{
    pthread_mutex_lock(&mutex);
    pthread_cond_wait(&condition, &mutex);
    say("woken", (intptr_t)number);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void conditions(void)
{
    struct timespec at = in_ms(CLOCK_REALTIME, 7);
    pthread_mutex_lock(&mutex);
    say("timed out", pthread_cond_timedwait(&condition, &mutex, &at) == ETIMEDOUT);
    at = in_ms(CLOCK_MONOTONIC, 2);
    say("timed out", pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &at) == ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
    start(wait_condition);
    usleep(1000);
    pthread_cond_signal(&condition);
    usleep(1000);
    pthread_cond_broadcast(&condition);
    usleep(1000);
}

static void *wait_semaphore(void *number)
{
    sem_wait(&semaphore);
    say("has it", (intptr_t)number);
    return NULL;
}

static void semaphores(void)
{
    struct timespec at = in_ms(CLOCK_REALTIME, 3);
    sem_init(&semaphore, 0, 0);
    say("timed out", sem_timedwait(&semaphore, &at) != 0 && errno == ETIMEDOUT);
    say("none", sem_trywait(&semaphore) != 0 && errno == EAGAIN);
    start(wait_semaphore);
    for (int i = 0; i < THREADS; i++) {
        usleep(1000);
        sem_post(&semaphore);
    }
    usleep(1000);
}

static void *read_it(void *number)
{
    pthread_rwlock_rdlock(&rwlock);
    say("reads", (intptr_t)number);
    usleep(5000);
    pthread_rwlock_unlock(&rwlock);
    return NULL;
}

static void rwlocks(void)
{
    start(read_it);
    usleep(1000);
    say("writes", pthread_rwlock_wrlock(&rwlock));
    say("deadlock", pthread_rwlock_wrlock(&rwlock) == EDEADLK);
}

static void do_once(void)
{
    usleep(2000);
    say("done", 1);
}

static void *meet(void *number)
{
    usleep(1000 * (useconds_t)(intptr_t)number);
    pthread_once(&once, do_once);
    pthread_spin_lock(&spin);
    usleep(1000);
    pthread_spin_unlock(&spin);
    int serial = pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
    say(serial ? "last" : "met", (intptr_t)number);
    return NULL;
}

static void meetings(void)
{
    pthread_spin_init(&spin, 0);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    start(meet);
    int serial = pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
    say(serial ? "last" : "met", THREADS);
    usleep(1000);
    pthread_barrier_destroy(&barrier);
}

static void *end_later(void *ms)
{
    usleep(1000 * (useconds_t)(intptr_t)ms);
    if ((intptr_t)ms == 3)
        pthread_exit(ms);
    return ms;
}

static void joins(void)
{
    pthread_t thread[4];
    void *result;
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, end_later, (void *)(i + 1));
    struct timespec at = in_ms(CLOCK_REALTIME, 2);
    say("timed out", pthread_timedjoin_np(thread[3], &result, &at) == ETIMEDOUT);
    say("busy", pthread_tryjoin_np(thread[3], &result) == EBUSY);
    for (int i = 3; i >= 0; i--) {
        pthread_join(thread[i], &result);
        say("joined", (intptr_t)result);
    }
}

static long futex(int operation, uint32_t value, const struct timespec *timeout)
{
    return syscall(SYS_futex, &word, operation, value, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void *wait_futex(void *number)
{
    say("woken", futex(FUTEX_WAIT_PRIVATE, 0, NULL));
    return number;
}

static void futexes(void)
{
    struct timespec four = {0, 4000000}, at = in_ms(CLOCK_MONOTONIC, 6);
    say("changed", futex(FUTEX_WAIT_PRIVATE, 1, NULL) != 0 && errno == EAGAIN);
    say("timed out", futex(FUTEX_WAIT, 0, &four) != 0 && errno == ETIMEDOUT);
    say("timed out", futex(FUTEX_WAIT_BITSET_PRIVATE, 0, &at) != 0 && errno == ETIMEDOUT);
    start(wait_futex);
    usleep(1000);
    say("woke", futex(FUTEX_WAKE_PRIVATE, 2, NULL));
    usleep(1000);
    say("woke", futex(FUTEX_WAKE_PRIVATE, 2, NULL));
    usleep(1000);
}

static void *spin_until(void *number)
{
    int64_t until = clock_ns(CLOCK_MONOTONIC) + 2000000;
    while (clock_ns(CLOCK_MONOTONIC) < until)
        ;
    say("waited", (intptr_t)number);
    atomic_fetch_add(&word, 1);
    return NULL;
}

/* What only asks, again and again. */
static void loops(void)
{
    start(spin_until);
    while (atomic_load(&word) < THREADS)
        sched_yield();
    say("seen", word);
    pthread_mutex_lock(&mutex);
    start(spin_until);
    while (atomic_load(&word) < 2 * THREADS)
        pthread_mutex_trylock(&mutex);
    say("seen", word);
}

/* -------- of several processes -------- */

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    sem_t semaphore;
    int turn;
};

static struct shared *shared;

static void map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (ftruncate(fd, sizeof(*shared)) != 0)
        perror(path);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
}

/* The first of two players makes the board. */
static void make(void)
{
    pthread_mutexattr_t attributes;
    pthread_condattr_t condition_attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attributes);
    pthread_condattr_init(&condition_attributes);
    pthread_condattr_setpshared(&condition_attributes, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&shared->condition, &condition_attributes);
    sem_init(&shared->semaphore, 1, 0);
}

static void play(int player)
{
    if (player == 0)
        make();
    else
        usleep(1000);
    for (int i = 0; i < 3; i++) {
        pthread_mutex_lock(&shared->mutex);
        while (shared->turn % 2 != player)
            pthread_cond_wait(&shared->condition, &shared->mutex);
        usleep(2000);
        say("turn", shared->turn++);
        pthread_cond_broadcast(&shared->condition);
        pthread_mutex_unlock(&shared->mutex);
    }
    if (player == 0)
        sem_wait(&shared->semaphore);
    else
        sem_post(&shared->semaphore);
    say("over", player);
}

static void ping(void)
{
    play(0);
}

static void pong(void)
{
    play(1);
}

static void testator(void)
{
    make();
    pthread_mutex_lock(&shared->mutex);
    usleep(10000);
    kill(getpid(), SIGKILL);
}

static void heir(void)
{
    usleep(5000);
    say("inherits", pthread_mutex_lock(&shared->mutex) == EOWNERDEAD);
}

static const struct {
    const char *name;
    void (*function)(void);
} subjects[] = {
    {"clocks", clocks},
    {"mutexes", mutexes},
    {"conditions", conditions},
    {"semaphores", semaphores},
    {"rwlocks", rwlocks},
    {"meetings", meetings},
    {"joins", joins},
    {"futexes", futexes},
    {"loops", loops},
    {"ping", ping},
    {"pong", pong},
    {"testator", testator},
    {"heir", heir},
};

int main(int argc, char **argv)
{
    began_ns = clock_ns(CLOCK_MONOTONIC);
    if (argc > 2)
        map(argv[2]);
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
        if (strcmp(subjects[i].name, argv[1]) == 0) {
            subjects[i].function();
            return 0;
        }
    return 2;
}
