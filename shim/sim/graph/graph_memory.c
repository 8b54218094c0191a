/* graph_memory.c -- what graphs allocate: its addresses, and the stock of physical memory behind them. */
#include "graph_memory.h"
#include "address.h"
#include "process.h"

#include <stdlib.h>

/* Given back by a launch or a free that is still to be reached; the same stream may have it at once. */
struct busy {
    struct busy *next;
    uint64_t bytes;
    struct sim_point until;
};

static struct stock {
    uint64_t reserved, reserved_high; /* charged to the device */
    uint64_t idle, used_high;
    struct busy *busy;
} stocks[SIM_MAX_DEVICES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the stocks, and all sim_graph_memory */
static struct sim_graph_memory *memories;

/* -------- the stock, with the lock held -------- */

static void settle(struct stock *stock)
{
    for (struct busy **link = &stock->busy; *link;) {
        struct busy *busy = *link;
        if (busy->bytes && !sim_point_passed(busy->until)) {
            link = &busy->next;
            continue;
        }
        stock->idle += busy->bytes;
        *link = busy->next;
        free(busy);
    }
}

static CUresult take(CUdevice device, const struct sim_stream *stream, uint64_t bytes)
{
    struct stock *stock = &stocks[device];
    settle(stock);
    uint64_t have = stock->idle;
    for (const struct busy *busy = stock->busy; busy; busy = busy->next)
        have += busy->until.serial == stream->serial ? busy->bytes : 0;
    if (have < bytes) {
        SIM_TRY(sim_charge_or_trim(device, SIM_MEM_GRAPH, bytes - have));
        stock->reserved += bytes - have;
        stock->idle += bytes - have;
        if (stock->reserved > stock->reserved_high)
            stock->reserved_high = stock->reserved;
    }
    for (struct busy *busy = stock->busy; busy && bytes; busy = busy->next)
        if (busy->until.serial == stream->serial) {
            uint64_t part = busy->bytes < bytes ? busy->bytes : bytes;
            busy->bytes -= part;
            bytes -= part;
        }
    stock->idle -= bytes;
    if (stock->reserved - stock->idle > stock->used_high)
        stock->used_high = stock->reserved - stock->idle;
    return CUDA_SUCCESS;
}

/* Others may have it when the stream has come to its present end; stream NULL: at once. */
static void give(CUdevice device, struct sim_stream *stream, uint64_t bytes)
{
    struct stock *stock = &stocks[device];
    if (!bytes)
        return;
    struct busy *busy = stock->busy;
    while (stream && busy && busy->until.serial != stream->serial)
        busy = busy->next;
    if (stream && !busy && (busy = calloc(1, sizeof(*busy)))) {
        busy->next = stock->busy;
        stock->busy = busy;
    }
    if (!stream || !busy) {
        stock->idle += bytes;
        return;
    }
    busy->bytes += bytes;
    busy->until = sim_stream_now(stream);
}

static void trim(CUdevice device)
{
    struct stock *stock = &stocks[device];
    settle(stock);
    sim_uncharge(device, SIM_MEM_GRAPH, stock->idle);
    stock->reserved -= stock->idle;
    stock->idle = 0;
}

/* -------- addresses -------- */

static void leave(struct sim_graph_memory *memory)
{
    if (--memory->users)
        return;
    struct sim_graph_memory **link = &memories;
    while (*link != memory)
        link = &(*link)->next;
    *link = memory->next;
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at(memory->address);
    sim_blocks_remove(block);
    free(block);
    sim_space_give(memory->address, memory->space);
    pthread_mutex_unlock(&sim_memory_lock);
    free(memory);
}

void sim_graph_memory_use(struct sim_graph_memory *memory)
{
    pthread_mutex_lock(&lock);
    memory->users++;
    pthread_mutex_unlock(&lock);
}

void sim_graph_memory_leave(struct sim_graph_memory *memory)
{
    pthread_mutex_lock(&lock);
    leave(memory);
    pthread_mutex_unlock(&lock);
}

CUresult sim_graph_memory_new(struct sim_graph *graph, CUdevice device, uint64_t bytes,
                              struct sim_graph_memory **out)
{
    uint64_t space = (bytes + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
    struct sim_graph_memory *memory = space < bytes ? NULL : calloc(1, sizeof(*memory));
    if (!memory)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *memory = (struct sim_graph_memory){
        .users = 1, .device = device, .space = space, .bytes = bytes, .owner = graph->id};
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&sim_memory_lock);
    memory->address = sim_space_take(space);
    struct sim_block *block =
        memory->address ? sim_block_new(SIM_BLOCK_GRAPH, device, memory->address, bytes) : NULL;
    if (block)
        block->physical_bytes = space;
    else if (memory->address)
        sim_space_give(memory->address, space);
    pthread_mutex_unlock(&sim_memory_lock);
    if (block) {
        memory->next = memories;
        memories = memory;
    }
    pthread_mutex_unlock(&lock);
    if (!block) {
        free(memory);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = memory;
    return CUDA_SUCCESS;
}

struct sim_graph_memory *sim_graph_memory_at(uint64_t address)
{
    pthread_mutex_lock(&lock);
    struct sim_graph_memory *memory = memories;
    while (memory && memory->address != address)
        memory = memory->next;
    pthread_mutex_unlock(&lock);
    return memory;
}

/* It is no longer allocated: what was behind it goes back to the stock. */
static void end_life(struct sim_graph_memory *memory, struct sim_stream *stream)
{
    memory->live = false;
    give(memory->device, stream, memory->held);
    memory->held = 0;
    leave(memory);
}

CUresult sim_graph_memory_free(CUdeviceptr address, struct sim_stream *stream)
{
    struct sim_graph_memory *memory = sim_graph_memory_at(address);
    pthread_mutex_lock(&lock);
    bool live = memory && memory->live;
    if (live)
        end_life(memory, stream);
    pthread_mutex_unlock(&lock);
    return live ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void sim_graph_memory_forget(CUdevice device)
{
    pthread_mutex_lock(&lock);
    for (struct sim_graph_memory *memory = memories, *next; memory; memory = next) {
        next = memory->next;
        if (memory->device == device && memory->live)
            end_life(memory, NULL);
    }
    trim(device);
    pthread_mutex_unlock(&lock);
}

/* -------- launches -------- */

static CUresult note_use(struct sim_graph_need *need, const struct sim_graph_node *node)
{
    bool allocates = node->type == SIM_NODE_MEM_ALLOC;
    uint32_t i = 0;
    while (i < need->count && need->use[i].memory != node->task.memory)
        i++;
    if (i == need->room) {
        uint32_t room = need->room ? 2 * need->room : 8;
        struct sim_graph_memory_use *grown = realloc(need->use, room * sizeof(*grown));
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        need->use = grown;
        need->room = room;
    }
    if (i == need->count)
        need->use[need->count++] = (struct sim_graph_memory_use){.memory = node->task.memory};
    need->use[i].allocations += allocates ? 1 : -1;
    need->use[i].owned |= allocates;
    return CUDA_SUCCESS;
}

CUresult sim_graph_need_of(const struct sim_graph *graph, struct sim_graph_need *need)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_graph_node *node = graph->nodes.node[i];
        if (SIM_NODE_BIT(node->type) & SIM_MEMORY_NODES)
            SIM_TRY(note_use(need, node));
        for (uint32_t k = 0; k < node->inner_count; k++)
            SIM_TRY(sim_graph_need_of(node->inner[k], need));
    }
    return CUDA_SUCCESS;
}

static bool stays(const struct sim_graph_memory_use *use)
{
    return use->owned && use->allocations > 0;
}

/* May it be launched? */
static CUresult check(const struct sim_graph_need *need, bool auto_free)
{
    for (uint32_t i = 0; i < need->count; i++) {
        const struct sim_graph_memory_use *use = &need->use[i];
        if (stays(use) ? use->memory->live && !auto_free : !use->owned && !use->memory->live)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult begin(const struct sim_graph_need *need, struct sim_stream *stream, bool auto_free,
                      bool upload, uint64_t *passing)
{
    uint64_t all[SIM_MAX_DEVICES] = {0};
    if (!upload)
        SIM_TRY(check(need, auto_free));
    for (uint32_t i = 0; i < need->count; i++) {
        const struct sim_graph_memory_use *use = &need->use[i];
        struct sim_graph_memory *memory = use->memory;
        if (stays(use) && memory->live && !upload)
            end_life(memory, stream);
        if (!use->owned || memory->live)
            continue;
        all[memory->device] += memory->space;
        if (!stays(use) || upload)
            passing[memory->device] += memory->space;
    }
    for (int d = 0; d < SIM_MAX_DEVICES; d++) {
        CUresult result = all[d] ? take(d, stream, all[d]) : CUDA_SUCCESS;
        if (result == CUDA_SUCCESS)
            continue;
        while (d-- > 0)
            give(d, stream, all[d]);
        return result;
    }
    return CUDA_SUCCESS;
}

CUresult sim_graph_need_begin(const struct sim_graph_need *need, struct sim_stream *stream, bool auto_free,
                              bool upload, uint64_t passing[SIM_MAX_DEVICES])
{
    pthread_mutex_lock(&lock);
    CUresult result = begin(need, stream, auto_free, upload, passing);
    pthread_mutex_unlock(&lock);
    return result;
}

void sim_graph_need_end(const struct sim_graph_need *need, struct sim_stream *stream, bool upload,
                        const uint64_t passing[SIM_MAX_DEVICES])
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < need->count && !upload; i++) {
        struct sim_graph_memory *memory = need->use[i].memory;
        if (stays(&need->use[i])) {
            memory->live = true;
            memory->held = memory->space;
            memory->users++;
        } else if (!need->use[i].owned)
            end_life(memory, stream);
    }
    for (int d = 0; d < SIM_MAX_DEVICES; d++)
        give(d, stream, passing[d]);
    pthread_mutex_unlock(&lock);
}

/* -------- the API -------- */

enum { USED_CURRENT, USED_HIGH, RESERVED_CURRENT, RESERVED_HIGH };

SIM_API(cuDeviceGetGraphMemAttribute, (CUdevice device, int attribute, uint64_t *value))
{
    SIM_ENTER(cuDeviceGetGraphMemAttribute);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!value || attribute < USED_CURRENT || attribute > RESERVED_HIGH)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct stock *stock = &stocks[device];
    settle(stock);
    const uint64_t values[] = {stock->reserved - stock->idle, stock->used_high, stock->reserved,
                               stock->reserved_high};
    *value = values[attribute];
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

/* The two marks can only be reset. */
SIM_API(cuDeviceSetGraphMemAttribute, (CUdevice device, int attribute, const uint64_t *value))
{
    SIM_ENTER(cuDeviceSetGraphMemAttribute);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!value || *value || (attribute != USED_HIGH && attribute != RESERVED_HIGH))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct stock *stock = &stocks[device];
    settle(stock);
    if (attribute == USED_HIGH)
        stock->used_high = stock->reserved - stock->idle;
    else
        stock->reserved_high = stock->reserved;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

SIM_API(cuDeviceGraphMemTrim, (CUdevice device))
{
    SIM_ENTER(cuDeviceGraphMemTrim);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    trim(device);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
