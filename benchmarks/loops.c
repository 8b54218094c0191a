/* loops.c -- the benchmarks' inner loops: driver calls without an interpreter in between, and a clock around
 * them.
 *
 * The driver's functions come as pointers, looked up by the caller as any program does; so the same loop runs
 * over the bare driver and over gshare's hooks.  A function named loops_count_* holds nothing but the calls
 * to count: callgrind collects inside these only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPORT  __attribute__((visibility("default")))
#define COUNTED EXPORT __attribute__((noinline))

typedef int (*launch_fn)(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                         unsigned bz, unsigned shared_bytes, void *stream, void **params, void **extra);
typedef int (*sync_fn)(void *stream);
typedef int (*alloc_fn)(uint64_t *pointer, uint64_t bytes);
typedef int (*free_fn)(uint64_t pointer);
typedef int (*query_fn)(void *pool, int attribute, void *value);
typedef int (*ask_fn)(void *first, void *second);

/* Mirrored in loops.py. */
struct loops_kernel {
    launch_fn launch;
    sync_fn sync;
    void *function;
    void *stream;
    void **params;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int launches(const struct loops_kernel *k, uint64_t count)
{
    int result = 0;

    for (uint64_t i = 0; i < count && !result; i++)
        result = k->launch(k->function, 1, 1, 1, 32, 1, 1, 0, k->stream, k->params, NULL);
    return result;
}

COUNTED int loops_count_launches(const struct loops_kernel *k, uint64_t count)
{
    return launches(k, count);
}

/* `batches` times `batch` launches back to back, after one that does not count; the wait for their end lies
 * outside the clock.  out_ns[i]: nanoseconds a launch in batch i. */
EXPORT int loops_launch(const struct loops_kernel *k, uint64_t batches, uint64_t batch, double *out_ns)
{
    int result = launches(k, batch);

    for (uint64_t i = 0; i < batches && !result; i++) {
        uint64_t start;

        result = k->sync(k->stream);
        start = now_ns();
        if (!result)
            result = loops_count_launches(k, batch);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result ? result : k->sync(k->stream);
}

/* out_ns[i]: nanoseconds of a launch and the wait for its end, in batch i. */
EXPORT int loops_round_trip(const struct loops_kernel *k, uint64_t batches, uint64_t batch, double *out_ns)
{
    int result = 0;

    for (uint64_t i = 0; i < batches && !result; i++) {
        uint64_t start = now_ns();

        for (uint64_t j = 0; j < batch && !result; j++)
            result = launches(k, 1) ? -1 : k->sync(k->stream);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result;
}

/* One batch, a launch every `period_ns`, the first `ahead` at once; then waits for its end. */
static int paced(const struct loops_kernel *k, int (*launch)(const struct loops_kernel *, uint64_t),
                 uint64_t batch, uint64_t ahead, uint64_t period_ns, double *out_ns)
{
    uint64_t begin = now_ns(), spent = 0;
    int result = 0;

    for (uint64_t i = 0; i < batch && !result; i++) {
        uint64_t due = begin + (i < ahead ? 0 : i - ahead) * period_ns;
        uint64_t start;

        while ((start = now_ns()) < due)
            ;
        result = launch(k, 1);
        spent += now_ns() - start;
    }
    *out_ns = (double)spent / (double)batch;
    return result ? result : k->sync(k->stream);
}

/* Launches at the pace of the GPU, so that it keeps busy and no queue grows: the work of a program that is limited
 * and never has to wait.  A batch's end is waited for, so that a kernel a little longer or shorter than the period
 * adds up to nothing; the first batch does not count.  Only the calls are timed. */
EXPORT int loops_launch_paced(const struct loops_kernel *k, uint64_t batches, uint64_t batch, uint64_t ahead,
                              uint64_t period_ns, double *out_ns)
{
    int result = paced(k, launches, batch, ahead, period_ns, out_ns);

    for (uint64_t i = 0; i < batches && !result; i++)
        result = paced(k, loops_count_launches, batch, ahead, period_ns, &out_ns[i]);
    return result;
}

/* Allocations that stay, so that the cost with many live ones can be seen.  Fills pointers[0..count-1]. */
EXPORT int loops_fill(alloc_fn alloc, uint64_t bytes, uint64_t count, uint64_t *pointers)
{
    int result = 0;

    for (uint64_t i = 0; i < count && !result; i++)
        result = alloc(&pointers[i], bytes);
    return result;
}

static int pairs(alloc_fn alloc, free_fn free_, uint64_t bytes, uint64_t count)
{
    uint64_t pointer;
    int result = 0;

    for (uint64_t i = 0; i < count && !result; i++) {
        result = alloc(&pointer, bytes);
        if (!result)
            result = free_(pointer);
    }
    return result;
}

COUNTED int loops_count_pairs(alloc_fn alloc, free_fn free_, uint64_t bytes, uint64_t count)
{
    return pairs(alloc, free_, bytes, count);
}

/* out_ns[i]: nanoseconds of an allocation and its release in batch i; one batch before them does not count. */
EXPORT int loops_alloc_free(alloc_fn alloc, free_fn free_, uint64_t bytes, uint64_t batches, uint64_t batch,
                            double *out_ns)
{
    int result = pairs(alloc, free_, bytes, batch);

    for (uint64_t i = 0; i < batches && !result; i++) {
        uint64_t start = now_ns();

        result = loops_count_pairs(alloc, free_, bytes, batch);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result;
}

/* out_ns[i]: nanoseconds of an allocation that is refused with `refusal`, in batch i. */
EXPORT int loops_refused(alloc_fn alloc, uint64_t bytes, int refusal, uint64_t batches, uint64_t batch,
                         double *out_ns)
{
    uint64_t pointer;
    int result = refusal;

    for (uint64_t i = 0; i < batches && result == refusal; i++) {
        uint64_t start = now_ns();

        for (uint64_t j = 0; j < batch && result == refusal; j++)
            result = alloc(&pointer, bytes);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result == refusal ? 0 : result ? result : -1;
}

/* The same of asking a pool for an attribute. */
EXPORT int loops_query(query_fn query, void *pool, int attribute, uint64_t batches, uint64_t batch,
                       double *out_ns)
{
    uint64_t value;
    int result = 0;

    for (uint64_t i = 0; i < batches && !result; i++) {
        uint64_t start = now_ns();

        for (uint64_t j = 0; j < batch && !result; j++)
            result = query(pool, attribute, &value);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result;
}

/* The same of a function that fills in one thing or two. */
EXPORT int loops_ask(ask_fn ask, uint64_t batches, uint64_t batch, double *out_ns)
{
    uint64_t first, second;
    int result = 0;

    for (uint64_t i = 0; i < batches && !result; i++) {
        uint64_t start = now_ns();

        for (uint64_t j = 0; j < batch && !result; j++)
            result = ask(&first, &second);
        out_ns[i] = (double)(now_ns() - start) / (double)batch;
    }
    return result;
}

/* Takes memory, says so, and lives as long as its parent: quiet, or allocating and freeing without end. */
static void keep_company(uint64_t bytes, int busy, int say)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    int (*init)(unsigned) = driver ? (int (*)(unsigned))dlsym(driver, "cuInit") : NULL;
    int (*retain)(void **, int) =
        driver ? (int (*)(void **, int))dlsym(driver, "cuDevicePrimaryCtxRetain") : NULL;
    int (*enter)(void *) = driver ? (int (*)(void *))dlsym(driver, "cuCtxSetCurrent") : NULL;
    alloc_fn alloc = driver ? (alloc_fn)dlsym(driver, "cuMemAlloc_v2") : NULL;
    free_fn free_ = driver ? (free_fn)dlsym(driver, "cuMemFree_v2") : NULL;
    uint64_t pointer;
    void *context;

    if (!init || !retain || !enter || !alloc || !free_ || init(0) || retain(&context, 0) || enter(context) ||
        alloc(&pointer, bytes) || write(say, "", 1) != 1)
        return;
    while (!busy || !pairs(alloc, free_, bytes, 1000))
        if (!busy)
            pause();
}

/* `processes` children, each of which holds `bytes` and a context of the first device until this process ends.  The
 * caller must not have touched the driver. */
EXPORT int loops_company(uint64_t processes, uint64_t bytes, int busy)
{
    int said[2];
    char byte;

    if (pipe(said))
        return -1;
    for (uint64_t i = 0; i < processes; i++) {
        pid_t child = fork();

        if (child < 0)
            return -1;
        if (!child) {
            close(said[0]);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            keep_company(bytes, busy, said[1]);
            _exit(1);
        }
    }
    close(said[1]);
    for (uint64_t i = 0; i < processes; i++)
        if (read(said[0], &byte, 1) != 1) /* all that have not said so have ended */
            return -1;
    return 0;
}

/* Load the driver and initialise it, as a program does; the nanoseconds it took, or a negative error. */
static double init_ns(void)
{
    uint64_t start = now_ns();
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    int (*init)(unsigned) = driver ? (int (*)(unsigned))dlsym(driver, "cuInit") : NULL;
    int result = init ? init(0) : -1;

    return result ? -1 : (double)(now_ns() - start);
}

/* `processes` children that all initialise the driver at the same moment.  out_ns[i]: how long child i took;
 * negative if it failed.  The caller must not have touched the driver. */
EXPORT int loops_init(uint64_t processes, double *out_ns)
{
    double *taken =
        mmap(NULL, processes * sizeof *taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int gate[2];
    uint64_t started = 0;

    if (taken == MAP_FAILED || pipe(gate))
        return -1;
    for (; started < processes; started++) {
        pid_t child = fork();
        char unused;

        if (child < 0)
            break;
        if (!child) {
            close(gate[1]);
            taken[started] = -1;
            if (!read(gate[0], &unused, 1)) /* end of file: the parent has opened the gate for all */
                taken[started] = init_ns();
            _exit(0);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (uint64_t i = 0; i < started; i++)
        wait(NULL);
    for (uint64_t i = 0; i < started; i++)
        out_ns[i] = taken[i];
    munmap(taken, processes * sizeof *taken);
    return started == processes ? 0 : -1;
}
