/* graphs.c -- graphs that allocate: made, captured, instantiated, uploaded, launched, trimmed and destroyed. */
#include "doors.h"

enum { AUTO_FREE = 1, UPLOAD = 2, RESERVED_HIGH = 3, THREAD_LOCAL = 1, RELAXED = 2 };

/* Some allocations, one after the other or side by side, some of them freed by the graph itself. */
static unsigned add_nodes(struct actor *a, CUgraph graph, uint64_t *addresses)
{
    unsigned left = 0, count = 1 + below(a, ADDRESSES);
    CUgraphNode before = NULL, node;

    for (unsigned i = 0; i < count; i++) {
        CUdevice device = one_in(a, 8) ? (CUdevice)below(a, (unsigned)devices) : a->at->device;
        CUDA_MEM_ALLOC_NODE_PARAMS params = {.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                                           .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}},
                                             .bytesize = some_bytes(a)};

        if (DO(cuGraphAddMemAllocNode, &node, graph, &before, before != NULL, &params))
            continue;
        before = one_in(a, 2) ? node : before;
        if (device == a->at->device && one_in(a, 2))
            addresses[left++] = params.dptr;
        else if (DO(cuGraphAddMemFreeNode, &before, graph, &node, 1, params.dptr) && device == a->at->device)
            addresses[left++] = params.dptr;
    }
    return left;
}

static void instantiate(struct actor *a, CUgraph graph, struct held *made)
{
    CUDA_GRAPH_INSTANTIATE_PARAMS params = {.flags = UPLOAD | below(a, 2), .hUploadStream = a->lane};
    CUresult result;

    if (one_in(a, 3))
        result = DO(cuGraphInstantiateWithParams, (CUgraphExec *)&made->handle, graph, &params);
    else
        result =
            DO(cuGraphInstantiateWithFlags, (CUgraphExec *)&made->handle, graph, below(a, 2) * AUTO_FREE);
    if (result == CUDA_SUCCESS)
        keep(made);
}

static void destroy_graph(struct actor *a, CUgraph graph)
{
    for (int tries = 0; tries < 50 && DO(cuGraphDestroy, graph) != CUDA_SUCCESS;)
        tries++;
}

void graph_make(struct actor *a)
{
    struct held made = {.kind = EXEC, .device = a->at->device, .home = home_of(a->at)};
    CUgraph graph, clone;

    if (DO(cuGraphCreate, &graph, 0))
        return;
    add_nodes(a, graph, made.address);
    if (one_in(a, 6) && DO(cuGraphClone, &clone, graph) == CUDA_SUCCESS)
        destroy_graph(a, clone);
    instantiate(a, graph, &made);
    destroy_graph(a, graph);
}

/* In a stream of its own: another thread may be using all others. */
void graph_capture(struct actor *a)
{
    struct held made = {.kind = EXEC, .device = a->at->device, .home = home_of(a->at)};
    CUgraph graph = NULL;
    CUdeviceptr address;
    CUstream own;

    if (DO(cuStreamCreate, &own, 1))
        return;
    if (DO(cuStreamBeginCapture_v2, own, one_in(a, 2) ? THREAD_LOCAL : RELAXED) == CUDA_SUCCESS) {
        for (unsigned i = 0, left = 0; i < 1 + below(a, 2); i++) {
            if (DO(cuMemAllocAsync, &address, some_bytes(a), own))
                continue;
            if (one_in(a, 2) || DO(cuMemFreeAsync, address, own))
                made.address[left++] = address;
        }
        if (DO(cuStreamEndCapture, own, &graph) == CUDA_SUCCESS && graph)
            instantiate(a, graph, &made);
        if (graph)
            destroy_graph(a, graph);
    }
    DO(cuStreamDestroy_v2, own);
}

void graph_launch(struct actor *a)
{
    struct held exec;

    if (!take(a, EXEC, home_of(a->at), -1, &exec))
        return;
    if (one_in(a, 4))
        DO(cuGraphUpload, (CUgraphExec)exec.handle, a->lane);
    for (unsigned times = 1 + below(a, 2); times; times--)
        if (DO(cuGraphLaunch, (CUgraphExec)exec.handle, a->lane) == CUDA_SUCCESS)
            for (int i = 0; i < ADDRESSES; i++)
                exec.left[i] = exec.address[i] != 0;
    keep(&exec);
}

void graph_destroy(struct actor *a)
{
    struct held exec;

    if (take(a, EXEC, home_of(a->at), -1, &exec))
        let_go(a, &exec);
}

/* By a graph that does nothing else. */
static CUresult free_by_graph(struct actor *a, CUdeviceptr address)
{
    CUgraphNode node;
    CUgraphExec exec;
    CUgraph graph;
    CUresult result = DO(cuGraphCreate, &graph, 0);

    if (result)
        return result;
    result = DO(cuGraphAddMemFreeNode, &node, graph, NULL, 0, address);
    if (!result)
        result = DO(cuGraphInstantiateWithFlags, &exec, graph, 0);
    if (!result) {
        result = DO(cuGraphLaunch, exec, a->lane);
        for (int tries = 0; tries < 50 && DO(cuGraphExecDestroy, exec) != CUDA_SUCCESS;)
            tries++;
    }
    destroy_graph(a, graph);
    return result;
}

static CUresult free_address(struct actor *a, CUdeviceptr address)
{
    switch (below(a, 3)) {
    case 0:
        return DO(cuMemFree_v2, address);
    case 1:
        return free_by_graph(a, address);
    default:
        return DO(cuMemFreeAsync, address, a->lane);
    }
}

/* One of them, or all.  True: none is left. */
static bool free_left(struct actor *a, struct held *held, bool all)
{
    bool some = false;

    for (int i = 0; i < ADDRESSES; i++) {
        if (held->left[i] && (all || one_in(a, 2)))
            held->left[i] = free_address(a, held->address[i]) != CUDA_SUCCESS;
        some |= held->left[i];
    }
    return !some;
}

void graph_free(struct actor *a)
{
    struct held held;

    if (take(a, one_in(a, 3) ? LEFT : EXEC, ANYWHERE, -1, &held) &&
        (!free_left(a, &held, false) || held.kind == EXEC))
        keep(&held);
}

void graph_trim(struct actor *a)
{
    uint64_t zero = 0;

    if (one_in(a, 3))
        DO(cuDeviceSetGraphMemAttribute, a->at->device, RESERVED_HIGH, &zero);
    else
        DO(cuDeviceGraphMemTrim, a->at->device);
}

/* What a graph leaves allocated outlives it. */
bool end_graph(struct actor *a, const struct held *held)
{
    struct held left = *held;
    bool some = false;

    if (held->kind == LEFT)
        return free_left(a, &left, true);
    if (DO(cuGraphExecDestroy, (CUgraphExec)held->handle))
        return false;
    left.kind = LEFT;
    left.home = NOWHERE;
    for (int i = 0; i < ADDRESSES; i++)
        some |= left.left[i];
    if (some)
        keep(&left);
    return true;
}
