/* share_load.c -- one tenant of `gshare bench shares`: keeps a GPU busy in one of the ways there are.
 *
 *   share_load PTX BOARD NAME=VALUE…
 *
 * PTX is spin.ptx, BOARD a file of struct board that says what was done.  It waits until the benchmark says go, and
 * goes on until it says leave.
 *
 *   kind      kernel, ptsz, ex, cooperative, graph (of four kernels), memset, or the kernels fma, copy and chase
 *   ns        GPU time of a launch; bytes of a memset; of the last three, how often they do what they do
 *   long_ns   if given, that of a launch in two, by chance: the same function, the same grid
 *   sigma     kernels' times are lognormal about ns (the mean)
 *   batch     launches, then a synchronise and a pause of gap_us; 0: it launches as fast as it may
 *   period_us batches are requests: one is due each period, up to a quarter sooner or later
 *   poisson   1: they are due at random instead, so far apart on average
 *   blocks    of 32 threads a launch; per_sm: so many for each SM instead, of 256 threads
 *   seed      of what is by chance
 *   count     1: it also says what is done by events in the stream, where nobody else can tell */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

typedef int result;
typedef void *handle;
typedef unsigned long long pointer;

result cuInit(unsigned flags);
result cuDeviceGet(int *device, int ordinal);
result cuDeviceGetAttribute(int *value, int attribute, int device);
result cuDevicePrimaryCtxRetain(handle *context, int device);
result cuCtxSetCurrent(handle context);
result cuCtxSynchronize(void);
result cuModuleLoadData(handle *module, const void *image);
result cuModuleGetFunction(handle *function, handle module, const char *name);
result cuMemAlloc_v2(pointer *out, size_t bytes);
result cuMemsetD8Async(pointer to, unsigned char value, size_t bytes, handle stream);
result cuStreamCreate(handle *stream, unsigned flags);
result cuStreamBeginCapture_v2(handle stream, int mode);
result cuStreamEndCapture(handle stream, handle *graph);
result cuGraphInstantiateWithFlags(handle *exec, handle graph, unsigned long long flags);
result cuGraphLaunch(handle exec, handle stream);
result cuEventCreate(handle *event, unsigned flags);
result cuEventRecord(handle event, handle stream);
result cuEventQuery(handle event);
result cuEventSynchronize(handle event);
result cuEventElapsedTime(float *ms, handle begin, handle end);
result cuLaunchKernel(handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, handle stream, void **params, void **extra);
result cuLaunchKernel_ptsz(handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                           unsigned bz, unsigned shared, handle stream, void **params, void **extra);
result cuLaunchKernelEx(const void *config, handle f, void **params, void **extra);
result cuLaunchCooperativeKernel(handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                 unsigned bz, unsigned shared, handle stream, void **params);

#define SM_COUNT      16 /* CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT */
#define GRAPH_KERNELS 4
#define MEMSET_BYTES  (64u << 20)
#define TRIALS        20
#define MEMSETS       200
#define WAIT_NS       200000
#define MARKS         64
#define MARK_NS       500000
#define LATENCIES     16384

struct board {
    uint64_t ready, go; /* go: 1, and 2: leave */
    uint64_t done_ns;   /* GPU time of what has ended, had each launch been alone */
    uint64_t unit_ns;   /* that of a launch whose time is not given, but measured */
    uint64_t requests;
    uint64_t latency_ns[LATENCIES];
};

static const char *kind = "kernel";
static int is_memset, is_work; /* fma, copy or chase */
static double sigma;
static uint64_t ns = 200000, long_ns, batch, gap_us, period_us, counts, chance, poisson, blocks = 1, per_sm;
static unsigned threads = 32;
static handle stream, function, graph;
static pointer memory;
static struct board *board;

/* What is in the stream: after each of these, so much work will have been done. */
static struct {
    handle event;
    uint64_t work_ns;
} marks[MARKS];
static uint64_t marks_put, marks_seen, put_ns;

static void check(result code, const char *what)
{
    if (code != 0) {
        fprintf(stderr, "%s: %d\n", what, code);
        exit(1);
    }
}

static uint64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void sleep_ns(uint64_t duration_ns)
{
    struct timespec at = {(time_t)(duration_ns / 1000000000u), (long)(duration_ns % 1000000000u)};

    nanosleep(&at, NULL);
}

/* In (0, 1), by xorshift. */
static double uniform(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return ((double)(chance >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t duration(void)
{
    double mean = (double)(long_ns != 0 && uniform() < 0.5 ? long_ns : ns);

    if (sigma == 0)
        return (uint64_t)mean;
    double normal = sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
    return (uint64_t)(mean * exp(sigma * normal - sigma * sigma / 2));
}

static result launch_ex(void **params)
{
    struct {
        unsigned grid[3], block[3], shared;
        handle stream, attributes;
        unsigned count;
    } config = {{(unsigned)blocks, 1, 1}, {threads, 1, 1}, 0, stream, NULL, 0};

    return cuLaunchKernelEx(&config, function, params, NULL);
}

static uint64_t launch(void)
{
    unsigned grid = (unsigned)blocks;
    uint64_t takes_ns = is_memset || is_work ? board->unit_ns : duration();
    void *of_time[] = {&takes_ns}, *of_work[] = {&memory, &ns}, **params = is_work ? of_work : of_time;

    if (is_memset)
        check(cuMemsetD8Async(memory, 1, ns, stream), "cuMemsetD8Async");
    else if (strcmp(kind, "graph") == 0)
        check(cuGraphLaunch(graph, stream), "cuGraphLaunch");
    else if (strcmp(kind, "cooperative") == 0)
        check(cuLaunchCooperativeKernel(function, grid, 1, 1, threads, 1, 1, 0, stream, params),
              "cooperative");
    else if (strcmp(kind, "ex") == 0)
        check(launch_ex(params), "cuLaunchKernelEx");
    else if (strcmp(kind, "ptsz") == 0)
        check(cuLaunchKernel_ptsz(function, grid, 1, 1, threads, 1, 1, 0, stream, params, NULL), "ptsz");
    else
        check(cuLaunchKernel(function, grid, 1, 1, threads, 1, 1, 0, stream, params, NULL), "cuLaunchKernel");
    return strcmp(kind, "graph") == 0 ? ns : takes_ns;
}

static void make_graph(void)
{
    uint64_t part_ns = ns / GRAPH_KERNELS;
    void *params[] = {&part_ns};
    unsigned grid = (unsigned)blocks;
    handle captured;

    /* As programs do that capture: some libraries give way to nobody who has not run a kernel yet. */
    check(cuLaunchKernel(function, grid, 1, 1, threads, 1, 1, 0, stream, params, NULL), "launch");
    check(cuCtxSynchronize(), "cuCtxSynchronize");
    check(cuStreamBeginCapture_v2(stream, 0), "begin capture");
    for (int i = 0; i < GRAPH_KERNELS; i++)
        check(cuLaunchKernel(function, grid, 1, 1, threads, 1, 1, 0, stream, params, NULL),
              "captured launch");
    check(cuStreamEndCapture(stream, &captured), "end capture");
    check(cuGraphInstantiateWithFlags(&graph, captured, 0), "instantiate");
}

/* Before others are there, and by the shortest of some trials: a cap may delay one. */
static void time_unit(void)
{
    int launches = is_memset ? MEMSETS : 1;
    float shortest_ms = INFINITY, ms;
    handle begin, end;

    check(cuEventCreate(&begin, 0), "cuEventCreate");
    check(cuEventCreate(&end, 0), "cuEventCreate");
    check(cuMemsetD8Async(memory, 0, MEMSET_BYTES, stream), "cuMemsetD8Async");
    for (int trial = 0; trial < TRIALS; trial++) {
        launch(); /* what is measured follows it at once */
        check(cuEventRecord(begin, stream), "cuEventRecord");
        for (int i = 0; i < launches; i++)
            launch();
        check(cuEventRecord(end, stream), "cuEventRecord");
        check(cuEventSynchronize(end), "cuEventSynchronize");
        check(cuEventElapsedTime(&ms, begin, end), "cuEventElapsedTime");
        shortest_ms = fminf(ms, shortest_ms);
    }
    board->unit_ns = (uint64_t)((double)shortest_ms * 1e6 / launches);
}

/* -------- what has ended -------- */

static void see_marks(void)
{
    while (marks_seen < marks_put) {
        uint64_t i = marks_seen % MARKS;
        if (marks_put - marks_seen == MARKS)
            check(cuEventSynchronize(marks[i].event), "cuEventSynchronize");
        else if (cuEventQuery(marks[i].event) != 0)
            return;
        __atomic_store_n(&board->done_ns, marks[i].work_ns, __ATOMIC_RELAXED);
        marks_seen++;
    }
}

static void count(uint64_t work_ns)
{
    static uint64_t marked_ns;

    put_ns += work_ns;
    if (!counts)
        return;
    if (put_ns - marked_ns >= MARK_NS) {
        marks[marks_put % MARKS].work_ns = marked_ns = put_ns;
        check(cuEventRecord(marks[marks_put++ % MARKS].event, stream), "cuEventRecord");
    }
    see_marks();
}

static void all_done(void)
{
    check(cuCtxSynchronize(), "cuCtxSynchronize");
    marks_seen = marks_put;
    __atomic_store_n(&board->done_ns, put_ns, __ATOMIC_RELAXED);
}

/* -------- ways to keep it busy -------- */

/* Until it is told to leave. */
static int goes_on(void)
{
    return __atomic_load_n(&board->go, __ATOMIC_RELAXED) == 1;
}

static void saturate(void)
{
    while (goes_on())
        count(launch());
    all_done();
}

static void in_batches(void)
{
    while (goes_on()) {
        for (uint64_t i = 0; i < batch; i++)
            count(launch());
        all_done();
        if (gap_us > 0)
            sleep_ns(gap_us * 1000);
    }
}

static void serve(void)
{
    uint64_t period_ns = period_us * 1000, due = now();

    while (goes_on()) {
        due += (uint64_t)((double)period_ns * (poisson ? -log(uniform()) : 0.75 + uniform() / 2));
        for (uint64_t at = now(); at < due; at = now())
            sleep_ns(due - at);
        for (uint64_t i = 0; i < batch; i++)
            count(launch());
        all_done();
        board->latency_ns[board->requests % LATENCIES] = now() - due;
        __atomic_store_n(&board->requests, board->requests + 1, __ATOMIC_RELEASE);
    }
}

static void option(const char *text)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"ns", &ns},         {"long_ns", &long_ns},     {"batch", &batch}, {"gap_us", &gap_us},
                   {"count", &counts},  {"period_us", &period_us}, {"seed", &chance}, {"blocks", &blocks},
                   {"per_sm", &per_sm}, {"poisson", &poisson}};
    size_t length = strcspn(text, "=");

    if (text[length] == '=' && length == 4 && strncmp(text, "kind", 4) == 0) {
        kind = text + 5;
        return;
    }
    if (text[length] == '=' && length == 5 && strncmp(text, "sigma", 5) == 0) {
        sigma = atof(text + 6);
        return;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (text[length] == '=' && strlen(numbers[i].name) == length &&
            strncmp(text, numbers[i].name, length) == 0) {
            *numbers[i].value = strtoull(text + length + 1, NULL, 10);
            return;
        }
    fprintf(stderr, "share_load: what is %s?\n", text);
    exit(2);
}

static void *image(const char *path)
{
    static char text[65536]; /* the rest stays zero: PTX ends with one */
    int file = open(path, O_RDONLY);

    if (file < 0 || read(file, text, sizeof(text) - 1) <= 0) {
        perror(path);
        exit(1);
    }
    close(file);
    return text;
}

static void fill_device(int device)
{
    int count;

    check(cuDeviceGetAttribute(&count, SM_COUNT, device), "cuDeviceGetAttribute");
    blocks = per_sm * (uint64_t)count;
    threads = 256;
}

int main(int argc, char **argv)
{
    int device, file = argc > 2 ? open(argv[2], O_RDWR) : -1;
    handle context, module;

    if (file < 0) {
        fprintf(stderr, "share_load PTX BOARD NAME=VALUE...\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* who is killed leaves no load behind */
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (board == MAP_FAILED) {
        perror(argv[2]);
        return 1;
    }
    for (int i = 3; i < argc; i++)
        option(argv[i]);
    is_memset = strcmp(kind, "memset") == 0;
    is_work = strcmp(kind, "fma") == 0 || strcmp(kind, "copy") == 0 || strcmp(kind, "chase") == 0;
    chance = chance * 0x9e3779b97f4a7c15u + 1;
    check(cuInit(0), "cuInit");
    check(cuDeviceGet(&device, 0), "cuDeviceGet");
    check(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    check(cuCtxSetCurrent(context), "cuCtxSetCurrent");
    check(cuModuleLoadData(&module, image(argv[1])), "cuModuleLoadData");
    check(cuModuleGetFunction(&function, module, is_work ? kind : "spin"), "cuModuleGetFunction");
    if (per_sm > 0)
        fill_device(device);
    if (strcmp(kind, "ptsz") != 0)
        check(cuStreamCreate(&stream, 1), "cuStreamCreate");
    for (int i = 0; counts && i < MARKS; i++)
        check(cuEventCreate(&marks[i].event, 2), "cuEventCreate");
    if (strcmp(kind, "graph") == 0)
        make_graph();
    if (is_memset || is_work) {
        check(cuMemAlloc_v2(&memory, MEMSET_BYTES), "cuMemAlloc");
        time_unit();
    }
    __atomic_store_n(&board->ready, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&board->go, __ATOMIC_ACQUIRE) == 0)
        sleep_ns(WAIT_NS);
    if (period_us > 0)
        serve();
    else if (batch > 0)
        in_batches();
    else
        saturate();
    return 0;
}
