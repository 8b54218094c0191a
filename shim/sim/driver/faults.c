/* faults.c -- errors on demand: SIMGPU_FAULTS="name:first[-last]:code,..." answers those calls of name with code.
 *
 * Calls are counted from 1 in each process; "name:1-:2" is every call, an error forever. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FAULTS 16

static struct fault {
    char name[64];
    unsigned long first, last;
    int code;
    _Atomic unsigned long calls;
} faults[MAX_FAULTS];
static int fault_count;

static bool read_fault(char *item, struct fault *fault)
{
    char *name = strsep(&item, ":"), *range = strsep(&item, ":"), *end;
    if (!range || !item || strlen(name) >= sizeof(fault->name))
        return false;
    strcpy(fault->name, name);
    fault->first = fault->last = strtoul(range, &end, 10);
    if (*end == '-')
        fault->last = end[1] ? strtoul(end + 1, &end, 10) : ~0ul;
    fault->code = atoi(item);
    return fault->first > 0;
}

bool sim_faults_read(void)
{
    const char *given = getenv("SIMGPU_FAULTS");
    char *text = given ? strdup(given) : NULL, *rest = text, *item;
    while (text && fault_count < MAX_FAULTS && (item = strsep(&rest, ",")))
        if (read_fault(item, &faults[fault_count]))
            fault_count++;
    free(text);
    return fault_count > 0;
}

CUresult sim_fault(const char *name)
{
    for (int i = 0; i < fault_count; i++)
        if (strcmp(faults[i].name, name) == 0) {
            unsigned long call = atomic_fetch_add_explicit(&faults[i].calls, 1, memory_order_relaxed) + 1;
            if (call >= faults[i].first && call <= faults[i].last)
                return (CUresult)faults[i].code;
        }
    return CUDA_SUCCESS;
}
