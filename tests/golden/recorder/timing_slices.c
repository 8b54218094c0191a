/* timing_slices.c -- how the GPU is shared in time: slices, switches, and what a start event includes.
 *
 * The measured process fills a stream with short kernels, each with an event behind it.  Stamps lie one kernel
 * apart; where they lie further apart, another process had the GPU.  What lies between two such gaps is a slice, and
 * a gap is the others' slices and the switches.  The kernel of gaps.h sees the same on the device, to the
 * microsecond; a simulated GPU, which runs no instructions, says nothing there. */
#include "gaps.h"
#include "structures.h"
#include "timings.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SHORT_NS = 20000, KERNELS_TIMED = 4000, STAMPS = 60, MOST_GAPS = 2000 };
#define MS 1000000ull

static unsigned number(const void *others)
{
    return *(const unsigned *)others;
}

/* At least two kernels of 2 ms wait at any time. */
void compete(void)
{
    word stream, event[2];
    if (begin_context() != 0)
        return;
    stream = new_stream(1);
    event[0] = new_event(2);
    event[1] = new_event(2);
    spin(1000, stream);
    DO(cuStreamSynchronize, stream);
    say_ready();
    wait_stage(1);
    for (unsigned i = 0; atomic_load(&facts->stage) < 2; i++) {
        for (int kernels = 0; kernels < 4; kernels++)
            spin(2 * MS, stream);
        DO(cuEventRecord, event[i % 2], stream);
        DO(cuEventSynchronize, event[!(i % 2)]);
    }
}

static bool begin(unsigned others)
{
    for (unsigned i = 0; i < others; i++)
        beside(compete);
    if (begin_context() != 0)
        return false;
    spin_function();
    wait_ready(others);
    return true;
}

/* Ends the others' work, and this process's before it. */
static void finish(void)
{
    DO(cuCtxSynchronize);
    set_stage(2);
}

static const char *beside_name(const char *what, unsigned others)
{
    static const char *const names[] = {"alone", "beside one", "beside two"};
    return text_of("%s, %s", what, names[others < 3 ? others : 2]);
}

void time_slices(const void *others)
{
    static double stamp_ns[KERNELS_TIMED];
    word *event = calloc(KERNELS_TIMED, sizeof(*event)), stream;
    if (!event || !begin(number(others)))
        return;
    stream = new_stream(1);
    for (int i = 0; i < KERNELS_TIMED; i++)
        event[i] = new_event(0);
    set_stage(1);
    pause_ms(20);
    for (int i = 0; i < KERNELS_TIMED; i++) {
        spin(SHORT_NS, stream);
        DO(cuEventRecord, event[i], stream);
    }
    finish();
    for (int i = 0; i < KERNELS_TIMED; i++) {
        float ms = 0;
        DO(cuEventElapsedTime, A(ms), event[0], event[i]);
        stamp_ns[i] = (double)ms * 1e6;
    }
    struct fact *stamps = new_fact(beside_name("stamps behind kernels of 20 us", number(others)), "ns");
    struct fact *slices = new_fact(beside_name("slice", number(others)), "ns");
    struct fact *gaps = new_fact(beside_name("gap between slices", number(others)), "ns");
    int last = -1;
    for (int i = 1; i < KERNELS_TIMED; i++) {
        double gap = stamp_ns[i] - stamp_ns[i - 1] - SHORT_NS;
        sample(stamps, stamp_ns[i]);
        if (gap < 5 * SHORT_NS)
            continue;
        sample(gaps, gap);
        if (last >= 0)
            sample(slices, stamp_ns[i] - stamp_ns[last] - gap);
        last = i;
    }
    free(event);
}

/* Event, kernel of 100 us, event, on an idle stream: beside others the difference says when the first is stamped. */
void time_start_stamps(const void *others)
{
    if (!begin(number(others)))
        return;
    struct fact *spans = new_fact(beside_name("event, kernel of 100 us, event", number(others)), "ns");
    struct fact *late =
        new_fact(beside_name("the same, host 5 ms late with the kernel", number(others)), "ns");
    word stream = new_stream(1), first = new_event(0), second = new_event(0);
    set_stage(1);
    pause_ms(20);
    for (int i = 0; i < 2 * STAMPS; i++) {
        float ms = 0;
        struct fact *fact = i < STAMPS ? spans : late;
        DO(cuEventRecord, first, stream);
        if (fact == late)
            pause_ms(5);
        spin(100000, stream);
        DO(cuEventRecord, second, stream);
        DO(cuStreamSynchronize, stream);
        fact->code = DO(cuEventElapsedTime, A(ms), first, second);
        sample(fact, (double)ms * 1e6);
        pause_ms(1);
    }
    finish();
}

void time_gaps(const void *others)
{
    word module = 0, function = 0, out = 0;
    const size_t bytes = 8 + 16 * MOST_GAPS;
    uint64_t wall_ns = 500 * MS, *found = calloc(1, bytes);
    unsigned most = MOST_GAPS;
    if (!found || !begin(number(others)))
        return;
    struct fact *begins = new_fact(beside_name("seen on the device: when a gap began", number(others)), "ns");
    struct fact *gaps = new_fact(beside_name("seen on the device: gap", number(others)), "ns");
    DO(cuModuleLoadData, A(module), P(GAPS));
    DO(cuModuleGetFunction, A(function), module, P("gaps"));
    DO(cuMemAlloc_v2, A(out), bytes);
    DO(cuMemsetD8_v2, out, 0, bytes);
    void *params[] = {&out, &wall_ns, &most};
    set_stage(1);
    pause_ms(20);
    gaps->code = begins->code = DO(cuLaunchKernel, function, 1, 1, 1, 1, 1, 1, 0, 0, P(params), 0);
    finish();
    DO(cuMemcpyDtoH_v2, P(found), out, bytes);
    for (uint64_t i = 0; i < found[0] && i < MOST_GAPS; i++) {
        sample(begins, (double)(found[1 + 2 * i] - found[1]));
        sample(gaps, (double)found[2 + 2 * i]);
    }
    free(found);
}
