/* graph_need.c -- reads the memory nodes of a graph and of the graphs inside it. */
#include "graph_need.h"
#include "grow.h"

#define CU_GRAPH_NODE_TYPE_GRAPH     4
#define CU_GRAPH_NODE_TYPE_MEM_ALLOC 10
#define CU_GRAPH_NODE_TYPE_MEM_FREE  11

/* All that a graph does with one address. */
struct address {
    CUdeviceptr start;
    uint64_t bytes;
    CUdevice ordinal;
    int32_t balance; /* allocations less frees */
    bool allocated;
};

struct walk {
    struct address *addresses; /* in ascending order */
    uint32_t count, room;
};

/* Where it is, or belongs.  Addresses mostly come in ascending order. */
static uint32_t place_of(const struct walk *walk, CUdeviceptr start)
{
    uint32_t low = 0, high = walk->count;

    if (high > 0 && walk->addresses[high - 1].start < start)
        return high;
    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (walk->addresses[middle].start < start)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: no memory for it. */
static struct address *note(struct walk *walk, CUdeviceptr start)
{
    uint32_t at = place_of(walk, start);

    if (at < walk->count && walk->addresses[at].start == start)
        return &walk->addresses[at];
    if (walk->count == walk->room &&
        !gs_grow((void **)&walk->addresses, &walk->room, sizeof *walk->addresses))
        return NULL;
    memmove(&walk->addresses[at + 1], &walk->addresses[at], (walk->count - at) * sizeof *walk->addresses);
    walk->count++;
    walk->addresses[at] = (struct address){.start = start};
    return &walk->addresses[at];
}

static bool note_allocation(struct walk *walk, CUgraphNode node)
{
    CUDA_MEM_ALLOC_NODE_PARAMS params = {0};
    struct address *address;

    if (REAL(cuGraphMemAllocNodeGetParams)(node, &params))
        return false;
    if (params.poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return true;
    address = note(walk, params.dptr);
    if (!address)
        return false;
    if (address->bytes < params.bytesize)
        address->bytes = params.bytesize;
    address->ordinal = params.poolProps.location.id;
    address->allocated = true;
    address->balance++;
    return true;
}

static bool note_free(struct walk *walk, CUgraphNode node)
{
    struct address *address;
    CUdeviceptr start;

    if (REAL(cuGraphMemFreeNodeGetParams)(node, &start))
        return false;
    address = note(walk, start);
    if (address)
        address->balance--;
    return address != NULL;
}

static bool walk_graph(struct walk *walk, CUgraph graph);

static bool walk_node(struct walk *walk, CUgraphNode node)
{
    CUgraph inner;
    int type;

    if (REAL(cuGraphNodeGetType)(node, &type))
        return false;
    switch (type) {
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
        return note_allocation(walk, node);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
        return note_free(walk, node);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return !REAL(cuGraphChildGraphNodeGetGraph)(node, &inner) && walk_graph(walk, inner);
    default:
        return true;
    }
}

/* What the driver says of a graph that it does not know, it will say again; of one that it knows all must be told. */
static bool walk_graph(struct walk *walk, CUgraph graph)
{
    size_t count = 0;
    CUgraphNode *nodes;
    CUresult result = REAL(cuGraphGetNodes)(graph, NULL, &count);
    bool done;

    if (result || !count)
        return result != CUDA_ERROR_OUT_OF_MEMORY;
    nodes = mmap(NULL, count * sizeof *nodes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (nodes == MAP_FAILED)
        return false;
    size_t mapped_bytes = count * sizeof *nodes;
    done = !REAL(cuGraphGetNodes)(graph, nodes, &count);
    for (size_t i = 0; done && i < count; i++)
        done = walk_node(walk, nodes[i]);
    munmap(nodes, mapped_bytes);
    return done;
}

/* -------- what it comes to -------- */

static uint64_t pages(uint64_t bytes)
{
    return bytes > UINT64_MAX - GS_GRAPH_GRAIN
               ? UINT64_MAX / GS_GRAPH_GRAIN * GS_GRAPH_GRAIN
               : (bytes + GS_GRAPH_GRAIN - 1) / GS_GRAPH_GRAIN * GS_GRAPH_GRAIN;
}

static uint32_t part_of(struct gs_graph_need *need, CUdevice ordinal)
{
    uint32_t at = 0;

    while (at < need->parts && need->part[at].ordinal != ordinal)
        at++;
    if (at == need->parts && at < GS_MAX_DEVICES)
        need->part[need->parts++] =
            (struct gs_graph_part){.device = gs_device_index(ordinal), .ordinal = ordinal};
    return at;
}

static void add_use(struct gs_graph_need *need, const struct address *address, uint32_t part)
{
    uint64_t bytes = pages(address->bytes);

    if (!address->allocated)
        need->use[need->uses++] = (struct gs_graph_use){.address = address->start, .frees = true};
    if (!address->allocated || address->balance <= 0)
        return;
    need->use[need->uses++] = (struct gs_graph_use){.address = address->start, .bytes = bytes, .part = part};
    need->part[part].stays_bytes += bytes;
}

static void sum_up(struct gs_graph_need *need, const struct walk *walk)
{
    uint64_t counted = 0; /* all below this address */

    for (uint32_t i = 0; i < walk->count; i++) {
        const struct address *address = &walk->addresses[i];
        uint64_t first = address->start / GS_GRAPH_GRAIN * GS_GRAPH_GRAIN;
        uint64_t last = pages(address->start + address->bytes);
        uint32_t part = address->allocated ? part_of(need, address->ordinal) : 0;

        if (part == GS_MAX_DEVICES)
            continue;
        add_use(need, address, part);
        first = first < counted ? counted : first;
        if (!address->allocated || last <= first)
            continue;
        need->part[part].most_bytes += last - first;
        counted = last;
    }
    for (uint32_t i = 0; i < need->parts; i++) /* small ones may lie in one page */
        if (need->part[i].stays_bytes > need->part[i].most_bytes)
            need->part[i].stays_bytes = need->part[i].most_bytes;
}

bool gs_graph_need_of(CUgraph graph, struct gs_graph_need **need)
{
    struct walk walk = {0};
    bool done = walk_graph(&walk, graph);
    size_t bytes = sizeof **need + walk.count * sizeof(*need)->use[0];

    *need = NULL;
    if (done && walk.count) {
        *need = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (*need == MAP_FAILED) {
            *need = NULL;
            done = false;
        } else {
            (*need)->mapped_bytes = bytes;
            sum_up(*need, &walk);
        }
    }
    if (walk.addresses)
        munmap(walk.addresses, walk.room * sizeof *walk.addresses);
    return done;
}

void gs_graph_need_free(struct gs_graph_need *need)
{
    if (need)
        munmap(need, need->mapped_bytes);
}
