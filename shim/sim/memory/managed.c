/* managed.c -- the spans of managed memory, and what moves them. */
#include "managed.h"
#include "pool.h"
#include "process.h"

#include <stdlib.h>
#include <unistd.h>

#define PIECE SIM_PHYSICAL_GRAIN

static struct sim_managed *all;
static uint64_t uses, host_bytes;

static uint64_t host_limit(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* -------- spans -------- */

/* The first span that ends after `at` begins there: split it if need be. */
static bool split(struct sim_managed *managed, uint64_t at)
{
    struct sim_span *span = managed->spans;
    while (span && span->to <= at)
        span = span->next;
    if (!span || span->from >= at)
        return true;
    struct sim_span *rest = malloc(sizeof(*rest));
    if (!rest)
        return false;
    *rest = *span;
    rest->from = span->to = at;
    span->next = rest;
    return true;
}

struct sim_span *sim_managed_cut(const struct sim_range *range)
{
    if (!split(range->managed, range->from) || !split(range->managed, range->to))
        return NULL;
    struct sim_span *span = range->managed->spans;
    while (span->from < range->from)
        span = span->next;
    return span;
}

static bool same_place(CUmemLocation a, CUmemLocation b)
{
    return a.type == b.type && a.id == b.id;
}

static bool alike(const struct sim_span *a, const struct sim_span *b)
{
    return a->read_mostly == b->read_mostly && a->discarded == b->discarded && a->copies == b->copies &&
           a->accessed_by == b->accessed_by && a->used == b->used && same_place(a->preferred, b->preferred) &&
           same_place(a->prefetched, b->prefetched);
}

void sim_managed_join(struct sim_managed *managed)
{
    for (struct sim_span *span = managed->spans; span->next;) {
        struct sim_span *next = span->next;
        if (alike(span, next)) {
            span->to = next->to;
            span->next = next->next;
            free(next);
        } else
            span = next;
    }
}

/* That of a pool's memory is its segment's: neighbours share the pages at their ends. */
static struct sim_managed *state_of(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_POOL ? ((const struct sim_slot *)block->owner)->segment->managed
                                         : block->owner;
}

CUresult sim_managed_range(CUdeviceptr address, size_t bytes, struct sim_range *range)
{
    const struct sim_block *block = sim_blocks_at(address);
    if (bytes == 0 || !block || !sim_block_is_managed(block) ||
        bytes > block->bytes - (address - block->base))
        return CUDA_ERROR_INVALID_VALUE;
    range->managed = state_of(block);
    uint64_t from = address - range->managed->base, to = from + bytes;
    range->from = from & ~(SIM_MANAGED_PAGE - 1);
    range->to = (to + SIM_MANAGED_PAGE - 1) & ~(SIM_MANAGED_PAGE - 1);
    if (range->to > range->managed->bytes)
        range->to = range->managed->bytes;
    return CUDA_SUCCESS;
}

/* -------- copies and their accounts -------- */

static void account(struct sim_span *span, uint32_t copies)
{
    uint64_t bytes = span->to - span->from;
    for (CUdevice d = 0; d < sim_driver.device_count; d++)
        if (span->copies & ~copies & 1u << d)
            sim_uncharge(d, SIM_MEM_MANAGED, bytes);
    if (span->copies & ~copies & SIM_ON_HOST)
        host_bytes -= bytes;
    if (copies & ~span->copies & SIM_ON_HOST)
        host_bytes += bytes;
    span->copies = copies;
}

/* The span used least recently that only waits to be evicted: not in the range that the room is for. */
static struct sim_span *least_recent(CUdevice device, const struct sim_range *except, struct sim_managed **of)
{
    struct sim_span *least = NULL;
    for (struct sim_managed *m = all; m; m = m->next)
        for (struct sim_span *s = m->spans; s; s = s->next) {
            bool needed = except && m == except->managed && s->from < except->to && s->to > except->from;
            if (!needed && (s->copies & 1u << device) && (!least || s->used < least->used)) {
                least = s;
                *of = m;
            }
        }
    return least;
}

/* Until at least that much more is free than before, if so much can be. */
static void evict(CUdevice device, uint64_t bytes, const struct sim_range *except, struct sim_moved *moved)
{
    uint64_t freed = 0;
    while (freed < bytes) {
        struct sim_managed *managed;
        struct sim_span *span = least_recent(device, except, &managed);
        if (!span)
            break;
        uint64_t most = (bytes - freed + PIECE - 1) & ~(PIECE - 1);
        if (span->to - span->from > most && !split(managed, span->from + most))
            break;
        uint32_t left = span->copies & ~(1u << device);
        if (!left && !span->discarded)
            moved->to_host += span->to - span->from;
        account(span, left ? left : SIM_ON_HOST);
        freed += span->to - span->from;
    }
}

static uint64_t room_on(CUdevice device)
{
    const struct sim_device *d = sim_device_of(device);
    sim_machine_lock(sim_driver.machine);
    uint64_t room = d->profile.memory_bytes - d->used_bytes;
    sim_machine_unlock(sim_driver.machine);
    return room;
}

static uint64_t resident_on(CUdevice device)
{
    uint64_t bytes = 0;
    for (const struct sim_managed *m = all; m; m = m->next)
        for (const struct sim_span *s = m->spans; s; s = s->next)
            bytes += s->copies & 1u << device ? s->to - s->from : 0;
    return bytes;
}

/* Its time is the allocating thread's, which is not modelled. */
void sim_managed_evict(CUdevice device, uint64_t bytes)
{
    struct sim_moved moved = {0};
    pthread_mutex_lock(&sim_memory_lock);
    uint64_t room = all ? room_on(device) : 0;
    if (all && bytes > room && bytes - room <= resident_on(device))
        evict(device, bytes - room, NULL, &moved);
    pthread_mutex_unlock(&sim_memory_lock);
}

/* Charge as much of the bytes as fits, in whole pieces unless it is all; returns how much. */
static uint64_t charge_some(CUdevice device, uint64_t bytes)
{
    struct sim_machine *m = sim_driver.machine;
    uint32_t index = sim_driver.device[device];
    sim_machine_lock(m);
    uint64_t room = m->device[index].profile.memory_bytes - m->device[index].used_bytes;
    if (bytes > room)
        bytes = room & ~(PIECE - 1);
    if (bytes && sim_memory_charge(m, sim_driver.process, index, SIM_MEM_MANAGED, bytes))
        bytes = 0;
    sim_machine_unlock(m);
    return bytes;
}

struct sim_managed *sim_managed_open(CUdevice device, uint64_t base, uint64_t bytes, bool on_host)
{
    uint64_t here = on_host ? 0 : charge_some(device, bytes), there = bytes - here;
    struct sim_managed *managed = calloc(1, sizeof(*managed));
    struct sim_span *span = calloc(1, sizeof(*span));
    bool room = managed && span && host_bytes + there <= host_limit();
    if (room) {
        *span = (struct sim_span){.to = bytes, .copies = 1u << device, .used = ++uses};
        *managed = (struct sim_managed){.next = all, .base = base, .bytes = bytes, .spans = span};
        room = there == 0 || here == 0 || split(managed, here);
    }
    if (!room) {
        if (here)
            sim_uncharge(device, SIM_MEM_MANAGED, here);
        free(managed);
        free(span);
        return NULL;
    }
    if (there) {
        struct sim_span *rest = here ? span->next : span;
        rest->copies = SIM_ON_HOST;
        host_bytes += there;
    }
    managed->link = &all;
    if (all)
        all->link = &managed->next;
    all = managed;
    return managed;
}

void sim_managed_close(struct sim_managed *managed)
{
    *managed->link = managed->next;
    if (managed->next)
        managed->next->link = managed->link;
    for (struct sim_span *span = managed->spans, *next; span; span = next) {
        next = span->next;
        account(span, 0);
        free(span);
    }
    free(managed);
}

/* -------- moves -------- */

/* A copy of the span on the device, or of its first part; the rest stays where it is. */
static CUresult bring(struct sim_span *span, const struct sim_range *range, CUdevice device,
                      struct sim_moved *moved)
{
    uint64_t bytes = span->to - span->from, here = charge_some(device, bytes);
    if (here < bytes) {
        evict(device, bytes - here, range, moved);
        here += charge_some(device, bytes - here);
    }
    if (here == 0)
        return CUDA_SUCCESS;
    if (here < bytes && !split(range->managed, span->from + here)) {
        sim_uncharge(device, SIM_MEM_MANAGED, here);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!span->discarded)
        moved->to_device += here;
    account(span, span->read_mostly ? span->copies | 1u << device : 1u << device);
    return CUDA_SUCCESS;
}

CUresult sim_managed_to_device(const struct sim_range *range, CUdevice device, struct sim_moved *moved)
{
    struct sim_span *span = sim_managed_cut(range);
    if (!span)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t now = ++uses;
    for (; span && span->from < range->to; span = span->next) {
        if (!(span->copies & 1u << device))
            SIM_TRY(bring(span, range, device, moved));
        span->discarded = false;
        span->used = now;
    }
    return CUDA_SUCCESS;
}

CUresult sim_managed_to_host(const struct sim_range *range, struct sim_moved *moved)
{
    struct sim_span *span = sim_managed_cut(range);
    if (!span)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (; span && span->from < range->to; span = span->next) {
        if (!(span->copies & SIM_ON_HOST)) {
            if (!span->discarded)
                moved->to_host += span->to - span->from;
            account(span, span->read_mostly ? span->copies | SIM_ON_HOST : SIM_ON_HOST);
        }
        span->discarded = false;
    }
    return CUDA_SUCCESS;
}

CUresult sim_managed_collapse(const struct sim_range *range)
{
    struct sim_span *span = sim_managed_cut(range);
    if (!span)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (; span && span->from < range->to; span = span->next) {
        uint32_t wanted = span->preferred.type == CU_MEM_LOCATION_TYPE_DEVICE ? 1u << span->preferred.id
                          : span->preferred.type                              ? SIM_ON_HOST
                                                                              : 0;
        uint32_t first = span->copies & -span->copies;
        account(span, span->copies & wanted ? wanted : first);
    }
    return CUDA_SUCCESS;
}

bool sim_managed_renew(const struct sim_range *range, CUmemLocation preferred)
{
    struct sim_span *span = sim_managed_collapse(range) == CUDA_SUCCESS ? sim_managed_cut(range) : NULL;
    bool done = span != NULL;
    for (; span && span->from < range->to; span = span->next) {
        span->read_mostly = span->discarded = false;
        span->preferred = preferred;
        span->prefetched = (CUmemLocation){0};
        span->accessed_by = 0;
    }
    sim_managed_join(range->managed);
    return done;
}
