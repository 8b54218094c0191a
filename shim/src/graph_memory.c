/* graph_memory.c -- the device memory behind all graphs of this process, charged for what the driver has reserved.
 *
 * The driver takes memory for a graph when it is launched or uploaded, and keeps it: a later launch gets what is idle,
 * or what an earlier launch into the same stream has, as the two cannot overlap.  So it never reserves more than what
 * is left allocated and, of each stream, the most that may be in use there at one time.  That is what is charged while
 * launches are between the decision and the driver's answer; after the last of them, what the driver says. */
#include <string.h>

#include "graph_memory.h"
#include "hooks.h"
#include "lock.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"
#include "stream_id.h"

#define CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT     0
#define CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT 2

#define MOST_GRAIN ((uint64_t)1 << 30)
#define CLAIMS     64

/* What work in one stream may be using beside what it leaves allocated. */
struct claim {
    uint64_t stream; /* 0: all streams for which there is no place of their own */
    uint64_t behind; /* at most, by launches that are queued */
    uint64_t flying; /* by launches between the decision and the driver's answer */
};

static struct stock {
    int asked; /* graphs have used it: there may be something to charge */
    CUdevice ordinal;
    uint64_t charged;
    uint64_t live; /* left allocated */
    uint32_t flights;
    struct claim claims[CLAIMS];
} stocks[GS_MAX_DEVICES];

static struct gs_lock lock;
static uint64_t grain = GS_GRAPH_GRAIN; /* raised when the driver is seen to take more at a time */
static int in_use;

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Launches into one stream may follow each other in the same memory. */
static uint64_t claimed(const struct claim *claim)
{
    if (!claim->stream)
        return claim->behind + claim->flying;
    return claim->behind > claim->flying ? claim->behind : claim->flying;
}

static uint64_t ask(const struct stock *stock, int attribute, uint64_t otherwise)
{
    cuuint64_t value;

    return REAL(cuDeviceGetGraphMemAttribute)(stock->ordinal, attribute, &value) ? otherwise : value;
}

static void drop(uint64_t handle, const struct gs_entry *entry)
{
    (void)handle;
    (void)entry;
}

/* Makes the charge what the driver says, and returns that.  While launches are between decision and answer it never
 * falls: what has just been given back may have been part of their decision. */
static uint64_t reconcile(struct stock *stock)
{
    int device = (int)(stock - stocks);
    uint64_t reserved = ask(stock, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, stock->charged);

    if (reserved < stock->charged && stock->flights)
        return reserved;
    if (reserved < stock->charged)
        gs_quota_release(device, GS_GRAPH, stock->charged - reserved);
    else if (reserved > stock->charged && !gs_quota_try(device, GS_GRAPH, reserved - stock->charged))
        gs_quota_charge(device, GS_GRAPH, reserved - stock->charged);
    stock->charged = reserved;
    if (!reserved && stock->live) { /* gone with the last context */
        gs_ledger_take_owned((uint64_t)stock, drop);
        stock->live = 0;
    }
    return reserved;
}

static void each_stock(void (*what)(struct stock *stock))
{
    if (!__atomic_load_n(&in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    for (int device = 0; device < GS_MAX_DEVICES; device++)
        if (stocks[device].asked)
            what(&stocks[device]);
    gs_unlock(&lock);
}

static void refresh(struct stock *stock)
{
    reconcile(stock);
}

void gs_graph_memory_refresh(void)
{
    each_stock(refresh);
}

/* What flies has reckoned with what would be given back. */
void gs_graph_memory_trim(int device)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    struct stock *stock;

    if ((uint32_t)device >= GS_MAX_DEVICES || !__atomic_load_n(&in_use, __ATOMIC_RELAXED))
        return;
    stock = &stocks[device];
    gs_lock(&lock);
    if (stock->asked && !stock->flights && stock->charged) {
        REAL(cuThreadExchangeStreamCaptureMode)(&mode);
        REAL(cuDeviceGraphMemTrim)(stock->ordinal);
        REAL(cuThreadExchangeStreamCaptureMode)(&mode);
        reconcile(stock);
    }
    gs_unlock(&lock);
}

GSHARE_HOOK(cuDeviceGraphMemTrim, (CUdevice device))
{
    CUresult result = REAL(cuDeviceGraphMemTrim)(device);

    gs_graph_memory_refresh();
    return result;
}

/* -------- who may be using what -------- */

/* claims[0] takes those for which there is no room. */
static struct claim *claim_of(struct stock *stock, uint64_t stream)
{
    struct claim *unused = &stock->claims[0];

    for (int i = 1; i < CLAIMS; i++) {
        struct claim *claim = &stock->claims[i];

        if (claim->stream == stream)
            return claim;
        if (!claimed(claim))
            unused = claim;
    }
    if (unused != &stock->claims[0])
        *unused = (struct claim){.stream = stream};
    return unused;
}

/* What the driver reserves at most once all that flies has its memory. */
static uint64_t highest(struct stock *stock, uint64_t reserved)
{
    uint64_t used = ask(stock, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, reserved);
    uint64_t all = stock->live, flying = 0, covered = UINT64_MAX;

    for (int i = 0; i < CLAIMS; i++) {
        struct claim *claim = &stock->claims[i];

        claim->behind = at_most(claim->behind, less(used, stock->live)); /* the rest is idle by now */
        all += claimed(claim);
        flying += claim->flying;
        if (claim->flying) /* who takes more than is there leaves nothing of his own unused */
            covered = at_most(covered, claim->stream ? claimed(claim) - claim->flying : 0);
    }
    all = at_most(less(all, covered), used + flying);
    return all > reserved ? all : reserved;
}

/* `stream` 0: nothing queued uses it any more. */
static void freed_in(const struct gs_entry *entry, uint64_t stream)
{
    struct stock *stock = &stocks[entry->device];

    gs_lock(&lock);
    stock->live = less(stock->live, entry->bytes);
    if (stream)
        claim_of(stock, stream)->behind += entry->bytes;
    gs_unlock(&lock);
}

void gs_graph_memory_freed(const struct gs_entry *entry, CUstream stream)
{
    freed_in(entry, stream == GS_ANY_STREAM ? 0 : gs_stream_id(stream));
}

/* -------- one launch -------- */

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
    return bytes > UINT64_MAX - to ? UINT64_MAX : (bytes + to - 1) / to * to;
}

/* An upload leaves what is allocated alone; a launch takes it over, where it may happen at all. */
static void take_over(struct stock *stock, struct claim *claim, const struct gs_flight_part *own)
{
    stock->flights++;
    claim->flying += own->bytes;
    stock->live -= own->again;
    claim->behind += own->again;
}

static void hand_back(struct stock *stock, struct claim *claim, const struct gs_flight_part *own)
{
    stock->flights--;
    claim->flying -= own->bytes;
    stock->live += own->again;
    claim->behind = less(claim->behind, own->again);
}

static int part_begins(struct gs_flight *flight, uint32_t i)
{
    const struct gs_graph_part *part = &flight->need->part[i];
    struct gs_flight_part *own = &flight->part[i];
    struct stock *stock = &stocks[part->device];
    struct claim *claim;
    uint64_t reserved;

    stock->asked = 1;
    stock->ordinal = part->ordinal;
    __atomic_store_n(&in_use, 1, __ATOMIC_RELAXED);
    reserved = reconcile(stock);
    claim = claim_of(stock, flight->stream);
    own->claim = (uint32_t)(claim - stock->claims);
    own->again = flight->upload ? 0 : at_most(own->again, stock->live);
    take_over(stock, claim, own);
    own->more = less(reserved + round_up(highest(stock, reserved) - reserved, grain), stock->charged);
    if (!gs_quota_try(part->device, GS_GRAPH, own->more)) {
        hand_back(stock, claim, own);
        return 0;
    }
    stock->charged += own->more;
    return 1;
}

/* `over`: of what stays, what has stayed before. */
static void part_ends(const struct gs_flight *flight, uint32_t i, int launched, uint64_t over)
{
    const struct gs_flight_part *own = &flight->part[i];
    struct stock *stock = &stocks[flight->need->part[i].device];
    struct claim *claim = &stock->claims[own->claim];
    uint64_t stays = launched ? flight->need->part[i].stays_bytes : own->again;
    uint64_t before = stock->charged;

    claim->behind = less(claimed(claim), stays);
    if (!claim->stream)
        claim->behind -= less(claim->flying, own->bytes); /* the others still fly */
    claim->flying -= own->bytes;
    stock->live += stays;
    if (launched)
        stock->live = less(stock->live + own->again, over);
    stock->flights--;
    uint64_t excess = less(reconcile(stock), before);
    while (excess && !stock->flights && grain < MOST_GRAIN && grain < own->more + excess)
        grain *= 2;
}

/* False: over the quota in that part, and nothing has changed. */
static int parts_begin(struct gs_flight *flight, uint32_t *full)
{
    const struct gs_graph_part *part = flight->need->part;
    uint32_t begun = 0;

    gs_lock(&lock);
    while (begun < flight->need->parts && part[begun].device != GS_FOREIGN_DEVICE &&
           (part[begun].device < 0 || part_begins(flight, begun)))
        begun++;
    for (uint32_t i = 0; begun < flight->need->parts && i < begun; i++)
        if (part[i].device >= 0) {
            struct stock *stock = &stocks[part[i].device];

            hand_back(stock, &stock->claims[flight->part[i].claim], &flight->part[i]);
            reconcile(stock);
        }
    gs_unlock(&lock);
    *full = begun;
    return begun == flight->need->parts;
}

/* What this graph has left allocated already needs nothing more. */
static void look_again(struct gs_flight *flight)
{
    const struct gs_graph_need *need = flight->need;
    struct gs_entry entry;

    for (uint32_t i = 0; i < need->parts; i++)
        flight->part[i] = (struct gs_flight_part){.bytes = need->part[i].most_bytes};
    for (uint32_t i = 0; i < need->uses; i++) {
        struct gs_flight_part *own = &flight->part[need->use[i].part];

        if (need->use[i].frees || !gs_ledger_find(need->use[i].address, &entry) || entry.kind != GS_GRAPH)
            continue;
        own->again = at_most(own->again + entry.bytes, need->part[need->use[i].part].most_bytes);
        if (flight->upload)
            own->bytes = less(own->bytes, entry.bytes);
    }
}

CUresult gs_flight_begin(struct gs_flight *flight, CUstream stream)
{
    uint64_t more;
    uint32_t full;
    int device;

    flight->stream = gs_stream_id(stream);
    look_again(flight);
    if (parts_begin(flight, &full))
        return CUDA_SUCCESS;
    device = flight->need->part[full].device;
    more = flight->part[full].more;
    if (gs_reserve_after_asking(device, GS_GRAPH, more))
        gs_quota_release(device, GS_GRAPH, more); /* there is room now: once more */
    if (parts_begin(flight, &full))
        return CUDA_SUCCESS;
    return gs_refuse(flight->api, flight->need->part[full].device, flight->part[full].more);
}

/* Notes down what a launch leaves allocated; returns how much of that was so before. */
static uint64_t leave(const struct gs_graph_use *use, int device)
{
    struct gs_entry entry = {
        .bytes = use->bytes, .owner = (uint64_t)&stocks[device], .device = device, .kind = GS_GRAPH};
    struct gs_entry stale;

    if (gs_ledger_put(use->address, &entry, &stale) != GS_NOTED_OVER)
        return 0;
    if (stale.kind == GS_GRAPH)
        return stale.bytes;
    if (gs_is_charge(&stale))
        gs_quota_release(stale.device, stale.kind, stale.bytes);
    return 0;
}

static void launched_frees(CUdeviceptr address, uint64_t stream)
{
    struct gs_entry entry;

    if (gs_ledger_take(address, &entry) && entry.kind == GS_GRAPH)
        freed_in(&entry, stream);
}

CUresult gs_flight_end(const struct gs_flight *flight, CUresult result)
{
    const struct gs_graph_need *need = flight->need;
    int launched = !result && !flight->upload;
    uint64_t over[GS_MAX_DEVICES] = {0};

    for (uint32_t i = 0; launched && i < need->uses; i++) {
        const struct gs_graph_use *use = &need->use[i];

        if (use->frees)
            launched_frees(use->address, flight->stream);
        else if (need->part[use->part].device >= 0)
            over[use->part] += leave(use, need->part[use->part].device);
    }
    gs_lock(&lock);
    for (uint32_t i = 0; i < need->parts; i++)
        if (need->part[i].device >= 0)
            part_ends(flight, i, launched, over[i]);
    gs_unlock(&lock);
    return result;
}

void gs_graph_memory_forget(void)
{
    lock.word = GS_LOCK_FREE;
    memset(stocks, 0, sizeof stocks);
    in_use = 0;
}
