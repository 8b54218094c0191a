/* timings.c -- the measurements one after another, and their facts as JSON. */
#define _GNU_SOURCE
#include "timings.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LIMIT_S 12.0 /* each measurement */
#define ALL_S   40.0 /* after this none begins */

struct facts *facts;

struct fact *new_fact(const char *name, const char *unit)
{
    struct fact *fact = &facts->fact[facts->count < MAX_FACTS - 1 ? facts->count++ : MAX_FACTS - 1];
    snprintf(fact->name, sizeof(fact->name), "%s", name);
    snprintf(fact->unit, sizeof(fact->unit), "%s", unit);
    return fact;
}

void sample(struct fact *fact, double value)
{
    if (fact->count < MAX_SAMPLES && isfinite(value))
        fact->sample[fact->count++] = value;
}

void say_ready(void)
{
    atomic_fetch_add(&facts->ready, 1);
}

void wait_ready(uint32_t count)
{
    while (atomic_load(&facts->ready) < count)
        pause_ms(1);
}

void set_stage(uint32_t stage)
{
    atomic_store(&facts->stage, stage);
}

void wait_stage(uint32_t stage)
{
    while (atomic_load(&facts->stage) < stage)
        pause_ms(1);
}

void beside(void (*work)(void))
{
    if (fork() != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    _exit(0);
}

static const struct measurement {
    const char *name;
    void (*run)(const void *);
    unsigned others;
} measurements[] = {
    {"calls", time_calls, 0},
    {"copies", time_copies, 0},
    {"context memory", time_context_memory, 1},
    {"start stamps, alone", time_start_stamps, 0},
    {"start stamps, beside one", time_start_stamps, 1},
    {"slices, beside one", time_slices, 1},
    {"slices, beside two", time_slices, 2},
    {"gaps, beside one", time_gaps, 1},
    {"gaps, beside two", time_gaps, 2},
    {"checkpoint", time_checkpoint, 1},
};

static void write_fact(FILE *out, const struct fact *fact, bool last)
{
    fprintf(out, "{\"name\": ");
    report_text(out, fact->name);
    fprintf(out, ", \"unit\": \"%s\", \"code\": %d, \"samples\": [", fact->unit, fact->code);
    for (uint32_t i = 0; i < fact->count; i++)
        fprintf(out, "%s%.10g", i ? ", " : "", fact->sample[i]);
    fprintf(out, "]}%s\n", last ? "" : ",");
}

int record_timings(FILE *out, const struct identity *identity, const char *only)
{
    const unsigned count = sizeof(measurements) / sizeof(*measurements);
    void *memory = mmap(NULL, sizeof(*facts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    facts = memory;
    report_identity(out, "gshare/timings/v1", identity);
    fprintf(out, "\"measurements\": [\n");
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < count; i++) {
        int status = 0;
        atomic_store(&facts->ready, 0);
        atomic_store(&facts->stage, 0);
        const char *end = "done";
        if (only && strcmp(only, measurements[i].name) != 0)
            end = "not asked for";
        else if ((double)(now_ns() - begin) / 1e9 > ALL_S)
            end = "no time left";
        else if (!run_limited(measurements[i].run, &measurements[i].others, LIMIT_S, &status))
            end = "time limit";
        else if (status != 0)
            end = "failed";
        fprintf(out, "{\"name\": \"%s\", \"end\": \"%s\"}%s\n", measurements[i].name, end,
                i + 1 < count ? "," : "");
    }
    fprintf(out, "],\n\"facts\": [\n");
    for (uint32_t i = 0; i < facts->count; i++)
        write_fact(out, &facts->fact[i], i + 1 == facts->count);
    fprintf(out, "]\n}\n");
    return 0;
}
