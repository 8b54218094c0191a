/* fork.c -- a fork's child shares the mappings and owns nothing: no slot, no allocation, no context.
 *
 * The driver does not work in the child of a process that has started it, so all that the parent has noted
 * down is meaningless there.  Locks that other threads held at the fork are made new. */
#include <pthread.h>

#include "array_size.h"
#include "collective.h"
#include "context.h"
#include "graph_memory.h"
#include "hold.h"
#include "later.h"
#include "meter.h"
#include "physical.h"
#include "pool.h"
#include "quota.h"
#include "region.h"
#include "trace.h"

static void before(void)
{
    gs_region_before_fork();
}

static void in_parent(void)
{
    gs_region_after_fork(0);
}

static void in_child(void)
{
    gs_trace_forget();
    gs_quota_forget();
    gs_ledger_forget();
    gs_later_forget();
    gs_pool_forget();
    gs_context_forget();
    gs_physical_forget();
    gs_primary_forget();
    gs_array_forget();
    gs_graph_memory_forget();
    gs_meter_forget();
    gs_hold_forget();
    gs_collective_forget();
    gs_region_after_fork(1);
}

/* At load, before any thread can hold a lock: a child forked while another thread makes the first call would find
 * that thread's lock held for ever. */
__attribute__((constructor)) static void watch(void)
{
    pthread_atfork(before, in_parent, in_child);
}
