/* faults.c -- errors on demand: SIMGPU_FAULTS is a list of rules "what:when:effect", with commas between them.
 *
 *   what    a function (cuMemAlloc_v2; cuMemAlloc: any version of it; cuMem*), kernel:NAME (launches of an entry) or
 *           device:N (every call of this process)
 *   when    3, 3-7, 3- (counted from 1 in each process), p0.01 or p0.01@seed (the same calls for the same seed)
 *   effect  an error by number or name (2, CUDA_ERROR_OUT_OF_MEMORY), or a delay: +5ms, +100us, +2s
 *
 * A kernel's error breaks its context when the kernel ends (sticky.c); its delay makes it longer.  A device's error
 * breaks all contexts on it, of all processes; `lost` does so with CUDA_ERROR_UNKNOWN, and no other opens there. */
#include "api.h"
#include "faults.h"
#include "process.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RULES 64
#define MAX_NAME  128

enum what { CALLS, KERNELS, DEVICE };

static struct rule {
    enum what what;
    char name[MAX_NAME];
    CUdevice device;
    unsigned long first, last;
    uint64_t threshold, seed; /* of 2^64; 0: `first` and `last` count */
    uint64_t delay_ns;
    uint32_t error;
    bool lost;
    _Atomic unsigned long seen;
} rules[MAX_RULES];
static int rule_count;

/* -------- reading -------- */

static bool read_when(const char *text, struct rule *rule)
{
    char *end;
    if (*text == 'p') {
        double chance = strtod(text + 1, &end);
        if (end == text + 1 || !(chance > 0 && chance <= 1))
            return false;
        rule->threshold = chance == 1 ? UINT64_MAX : (uint64_t)(chance * 18446744073709551616.0);
        if (*end == '@') {
            text = end + 1;
            rule->seed = strtoull(text, &end, 10);
            if (!isdigit((unsigned char)*text))
                return false;
        }
        return !*end && rule->threshold;
    }
    if (!isdigit((unsigned char)*text))
        return false;
    rule->first = rule->last = strtoul(text, &end, 10);
    if (*end == '-') {
        text = end + 1;
        rule->last = *text ? strtoul(text, &end, 10) : ~0ul;
        if (*text && !isdigit((unsigned char)*text))
            return false;
        end = *text ? end : (char *)text;
    }
    return !*end && rule->first > 0 && rule->first <= rule->last;
}

static bool read_delay(const char *text, struct rule *rule)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    char *end;
    double number = strtod(text, &end);
    if (!isdigit((unsigned char)*text) || !(number > 0 && number < 1e9))
        return false;
    for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0) {
            rule->delay_ns = (uint64_t)(number * units[i].ns);
            return true;
        }
    return false;
}

static bool read_effect(const char *text, struct rule *rule)
{
    const char *name;
    char *end;
    if (*text == '+')
        return rule->what != DEVICE && read_delay(text + 1, rule);
    rule->lost = rule->what == DEVICE && strcmp(text, "lost") == 0;
    rule->error = rule->lost ? CUDA_ERROR_UNKNOWN : (uint32_t)strtoul(text, &end, 10);
    if (rule->lost)
        return true;
    if (isdigit((unsigned char)*text))
        return !*end && rule->error && cuGetErrorName((CUresult)rule->error, &name) == CUDA_SUCCESS;
    for (rule->error = 1; rule->error < 1000; rule->error++)
        if (cuGetErrorName((CUresult)rule->error, &name) == CUDA_SUCCESS && strcmp(name, text) == 0)
            return true;
    return false;
}

/* `name`, or `name` and a version. */
static bool same_function(const char *pattern, const char *symbol)
{
    size_t length = strlen(pattern);
    if (strpbrk(pattern, "*?["))
        return fnmatch(pattern, symbol, 0) == 0;
    return strncmp(pattern, symbol, length) == 0 &&
           (!symbol[length] || (symbol[length] == '_' && symbol[length + 1] == 'v' &&
                                isdigit((unsigned char)symbol[length + 2]) && !symbol[length + 3]));
}

static bool known_function(const char *pattern)
{
    for (size_t i = 0; i < sim_api_count; i++)
        if (same_function(pattern, sim_api[i].symbol))
            return true;
    return same_function(pattern, "cuInit");
}

/* NULL, or what is wrong with the item, which it cuts into its parts. */
static const char *read_rule(char *item, struct rule *rule)
{
    char *name = strsep(&item, ":"), *end;
    if (strcmp(name, "kernel") == 0 || strcmp(name, "device") == 0) {
        rule->what = *name == 'k' ? KERNELS : DEVICE;
        name = strsep(&item, ":");
    }
    char *when = strsep(&item, ":");
    if (!name || !*name || !when || !item)
        return "what:when:effect is meant";
    if (strlen(name) >= sizeof(rule->name))
        return "the name is too long";
    strcpy(rule->name, name);
    rule->device = rule->what == DEVICE ? (CUdevice)strtol(name, &end, 10) : 0;
    if (rule->what == DEVICE && (*end || !sim_device_valid(rule->device)))
        return "no such device";
    if (rule->what == CALLS && !known_function(name))
        return "no function of the driver has that name";
    if (!read_when(when, rule))
        return "when is a count (3, 3-7, 3-) or a probability (p0.01, p0.01@seed)";
    if (!read_effect(item, rule))
        return "the effect is an error (its number or name) or a delay (+5ms)";
    if (rule->what != CALLS && rule->error && !sim_breaks_context(rule->error))
        return "no context fails with that error";
    return NULL;
}

bool sim_faults_read(char *why, unsigned why_size)
{
    const char *given = getenv("SIMGPU_FAULTS"), *wrong = NULL;
    char *text = given ? strdup(given) : NULL, *rest = text, *item;
    rule_count = 0;
    while (text && !wrong && (item = strsep(&rest, ","))) {
        char whole[256];
        struct rule *rule = &rules[rule_count];
        if (!*item)
            continue;
        snprintf(whole, sizeof(whole), "%s", item);
        if (rule_count == MAX_RULES)
            wrong = "too many rules";
        else {
            memset(rule, 0, sizeof(*rule));
            wrong = read_rule(item, rule);
            rule_count++;
        }
        if (wrong)
            snprintf(why, why_size, "SIMGPU_FAULTS: %s: %s", whole, wrong);
    }
    free(text);
    return !wrong;
}

bool sim_faults_any(void)
{
    return rule_count > 0;
}

/* -------- coming true -------- */

static uint64_t scramble(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static bool comes_true(struct rule *rule)
{
    unsigned long number = atomic_fetch_add_explicit(&rule->seen, 1, memory_order_relaxed) + 1;
    if (rule->threshold)
        return scramble(scramble(rule->seed) + number) <= rule->threshold;
    return number >= rule->first && number <= rule->last;
}

CUresult sim_fault(const char *name)
{
    CUresult error = CUDA_SUCCESS;
    for (struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if (rule->what == KERNELS || (rule->what == CALLS && !same_function(rule->name, name)) ||
            !comes_true(rule))
            continue;
        if (rule->delay_ns)
            sim_sleep_until(NULL, 0, sim_now_ns() + rule->delay_ns);
        else if (rule->what == DEVICE) {
            sim_machine_lock(sim_driver.machine);
            sim_device_fail(sim_driver.machine, sim_driver.device[rule->device], rule->error, rule->lost);
            sim_machine_unlock(sim_driver.machine);
        } else if (error == CUDA_SUCCESS)
            error = (CUresult)rule->error;
    }
    return error;
}

uint32_t sim_kernel_fault(const char *name, uint64_t *delay_ns)
{
    uint32_t error = 0;
    for (struct rule *rule = rules; rule < rules + rule_count; rule++) {
        if (rule->what != KERNELS || fnmatch(rule->name, name, 0) != 0 || !comes_true(rule))
            continue;
        *delay_ns += rule->delay_ns;
        error = error ? error : rule->error;
    }
    return error;
}
