/* cost.c -- what calls cost the host: nothing more than they do, unless SIMGPU_CALL_COST or SIMGPU_CALL_NS asks.
 *
 * SIMGPU_CALL_COST=1 takes published figures of real drivers; SIMGPU_CALL_NS="cuLaunchKernel=2500,cuMem*=1000" goes
 * before them, name by name (globs; any version and spelling of a name; the first that fits counts).  The time passes
 * in the calling thread, before the call does anything; calls that a call makes are part of it. */
#include "process.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COSTS 64
#define MAX_NAME  64

static struct cost {
    char name[MAX_NAME];
    uint64_t ns;
} costs[MAX_COSTS];
static int cost_count;

static const struct cost published[] = {
    {"cuLaunch*", 2500},      /* 1.2 to 5 us */
    {"cuGraphLaunch", 7500},  /* 5 to 10 us */
    {"cuEventRecord*", 2500}, /* one that keeps times */
    {"cuEventQuery", 1000},      {"cuEventCreate", 500}, {"cuMemAlloc", 133000},
    {"cuMemAllocPitch", 133000}, {"cuMemFree", 457000},  {"cuCtxCreate", 83000000},
};

static bool add(const char *name, uint64_t ns)
{
    if (cost_count == MAX_COSTS || strlen(name) >= MAX_NAME || !*name)
        return false;
    strcpy(costs[cost_count].name, name);
    costs[cost_count++].ns = ns;
    return true;
}

static bool read_list(char *text)
{
    for (char *item; (item = strsep(&text, ","));) {
        char *value = strchr(item, '='), *end;
        if (!value)
            return false;
        *value++ = '\0';
        uint64_t ns = strtoull(value, &end, 10);
        if (end == value || *end || !add(item, ns))
            return false;
    }
    return true;
}

bool sim_costs_read(char *why, unsigned why_size)
{
    const char *list = getenv("SIMGPU_CALL_NS"), *all = getenv("SIMGPU_CALL_COST");
    char *copy = list && *list ? strdup(list) : NULL;
    bool good = !copy || read_list(copy);
    free(copy);
    if (!good)
        snprintf(why, why_size, "SIMGPU_CALL_NS=%s: not a list of name=ns,name=ns", list);
    if (good && all && strcmp(all, "1") == 0)
        for (size_t i = 0; i < sizeof(published) / sizeof(published[0]); i++)
            add(published[i].name, published[i].ns);
    return good;
}

bool sim_costs_any(void)
{
    return cost_count > 0;
}

/* "cuMemAlloc" also stands for cuMemAlloc_v2 and cuMemAlloc_v2_ptds. */
static bool fits(const struct cost *cost, const char *name)
{
    size_t length = strlen(cost->name);
    if (strncmp(cost->name, name, length) == 0 &&
        (name[length] == '\0' || strncmp(name + length, "_v", 2) == 0 ||
         strncmp(name + length, "_pt", 3) == 0))
        return true;
    return fnmatch(cost->name, name, 0) == 0;
}

/* By looking at the clock, since sleeping takes longer than most of these; a virtual clock stands still meanwhile. */
static void spend(uint64_t ns)
{
    uint64_t now = sim_now_ns(), end = now + ns;
    while (now < end) {
        uint64_t later = sim_now_ns();
        if (later == now || end - later > 1000000)
            sim_sleep_until(NULL, 0, later == now ? end : end - 500000);
        now = later;
    }
}

void sim_cost_pay(const char *name)
{
    for (int i = 0; i < cost_count; i++)
        if (fits(&costs[i], name)) {
            spend(costs[i].ns);
            return;
        }
}
