/* graphs.c -- memory that graphs allocate: it comes with a launch or an upload, however the graph was made. */
#include "probe.h"

enum { GRAPH_NODE = 4, MOVE = 1, ALLOC_NODE = 10, UPLOAD = 2, RELAXED = 2 };
enum { USED_HIGH = 1, RESERVED_HIGH = 3 };

/* CUDA_MEM_ALLOC_NODE_PARAMS: the properties of a pool, who has access, how much, where */
struct alloc_node {
    struct pool pool;
    const void *access;
    size_t accesses, bytes;
    uint64_t address;
};
/* CUDA_CHILD_GRAPH_NODE_PARAMS */
struct child_node {
    uint64_t graph;
    int ownership;
};
/* CUgraphNodeParams */
struct node {
    int type, zero[3];
    union {
        struct alloc_node alloc;
        struct child_node child;
        long long room[29];
    };
    long long zero_too;
};
/* CUDA_GRAPH_INSTANTIATE_PARAMS */
struct instantiation {
    uint64_t flags, stream, node;
    int result;
};

/* held.object is the address, more[0] the graph, more[1] its executable form. */
static word *const graph = &held.more[0], *const executable = &held.more[1];

static struct alloc_node wanted(void)
{
    return (struct alloc_node){.pool = {.type = 1, .location = {1, device}}, .bytes = PIECE};
}

static int add_node(const char *name, word to, word *address)
{
    struct alloc_node what = wanted();
    word node = 0;
    int code = CALL(name, A(node), to, 0, 0, A(what));
    *address = what.address;
    return code;
}

static int make_graph(void)
{
    return DO(cuGraphCreate, P(graph), 0) ?: add_node("cuGraphAddMemAllocNode", *graph, &held.object);
}

static int instantiate(void)
{
    return DO(cuGraphInstantiateWithFlags, P(executable), *graph, 0);
}

/* A graph that could not run is not kept. */
static int launched(int code)
{
    code = code ?: DO(cuGraphLaunch, *executable, held.stream);
    if (code && *executable)
        DO(cuGraphExecDestroy, *executable);
    if (code && *graph)
        DO(cuGraphDestroy, *graph);
    return code ?: DO(cuCtxSynchronize);
}

/* -------- how a graph is made -------- */

int graph_by_alloc_node(const struct door *door)
{
    return launched(DO(cuGraphCreate, P(graph), 0) ?: add_node(door->name, *graph, &held.object)
                                                   ?: instantiate());
}

int graph_by_node(const struct door *door)
{
    struct node what = {.type = ALLOC_NODE, .alloc = wanted()};
    word node = 0;
    int code = DO(cuGraphCreate, P(graph), 0) ?: CALL(door->name, A(node), *graph, 0, 0, A(what));
    held.object = what.alloc.address;
    return launched(code ?: instantiate());
}

int graph_by_node_v2(const struct door *door)
{
    struct node what = {.type = ALLOC_NODE, .alloc = wanted()};
    word node = 0;
    int code = DO(cuGraphCreate, P(graph), 0) ?: CALL(door->name, A(node), *graph, 0, 0, 0, A(what));
    held.object = what.alloc.address;
    return launched(code ?: instantiate());
}

/* A graph with memory nodes may move into another one, and not be copied. */
int graph_by_child(const struct door *door)
{
    struct node what = {.type = GRAPH_NODE};
    word node = 0, outer = 0;
    int code = make_graph() ?: DO(cuGraphCreate, A(outer), 0);
    what.child = (struct child_node){*graph, MOVE};
    code = code ?: CALL(door->name, A(node), outer, 0, 0, A(what));
    *graph = outer;
    return launched(code ?: instantiate());
}

static int capture(int code, const char *allocate, word pool)
{
    bool begun = !code;
    if (begun && pool)
        code = CALL(allocate, A(held.object), PIECE, pool, held.stream);
    else if (begun)
        code = CALL(allocate, A(held.object), PIECE, held.stream);
    if (begun)
        code = DO(cuStreamEndCapture, held.stream, P(graph)) ?: code;
    return launched(code ?: instantiate());
}

static int new_stream(void)
{
    return DO(cuStreamCreate, A(held.stream), 1);
}

static int begin_capture(void)
{
    return new_stream() ?: DO(cuStreamBeginCapture_v2, held.stream, RELAXED);
}

int graph_by_capture(const struct door *door)
{
    return capture(begin_capture(), door->name, 0);
}

int graph_by_capture_from_pool(const struct door *door)
{
    word pool = 0;
    int code = DO(cuDeviceGetDefaultMemPool, A(pool), (word)device);
    return capture(code ?: begin_capture(), door->name, pool);
}

int graph_by_oldest_capture(const struct door *door)
{
    return capture(new_stream() ?: CALL(door->name, held.stream), "cuMemAllocAsync", 0);
}

int graph_by_newer_capture(const struct door *door)
{
    return capture(new_stream() ?: CALL(door->name, held.stream, RELAXED), "cuMemAllocAsync", 0);
}

int graph_by_capture_to_graph(const struct door *door)
{
    int code = new_stream() ?: DO(cuGraphCreate, P(graph), 0);
    return capture(code ?: CALL(door->name, held.stream, *graph, 0, 0, 0, RELAXED), "cuMemAllocAsync", 0);
}

/* -------- how it is made to run -------- */

/* In its two oldest forms it tells the node that was to blame. */
int instantiate_old(const struct door *door)
{
    return launched(make_graph() ?: CALL(door->name, P(executable), *graph, 0, 0, 0));
}

int instantiate_with_flags(const struct door *door)
{
    return launched(make_graph() ?: CALL(door->name, P(executable), *graph, 0));
}

int instantiate_with_params(const struct door *door)
{
    struct instantiation how = {0};
    return launched(make_graph() ?: CALL(door->name, P(executable), *graph, A(how)));
}

int instantiate_uploaded(const struct door *door)
{
    struct instantiation how = {.flags = UPLOAD};
    int code = make_graph() ?: new_stream();
    how.stream = held.stream;
    return launched(code ?: CALL(door->name, P(executable), *graph, A(how)));
}

int upload(const struct door *door)
{
    return launched(make_graph() ?: instantiate() ?: CALL(door->name, *executable, held.stream));
}

int launch(const struct door *door)
{
    int code = make_graph() ?: instantiate() ?: CALL(door->name, *executable, held.stream);
    if (code && *executable)
        DO(cuGraphExecDestroy, *executable);
    return code ?: DO(cuCtxSynchronize);
}

/* Allocates and frees at every launch: between launches its memory is only kept. */
int launch_passing(const struct door *door)
{
    word allocating = 0, freeing = 0;
    struct alloc_node what = wanted();
    int code = DO(cuGraphCreate, P(graph), 0) ?: DO(cuGraphAddMemAllocNode, A(allocating), *graph, 0, 0, A(what))
               ?: DO(cuGraphAddMemFreeNode, A(freeing), *graph, A(allocating), 1, what.address)
               ?: instantiate() ?: CALL(door->name, *executable, held.stream);
    if (code && *executable)
        DO(cuGraphExecDestroy, *executable);
    return code ?: DO(cuCtxSynchronize);
}

int only_a_node(const struct door *door)
{
    return DO(cuGraphCreate, P(graph), 0) ?: add_node(door->name, *graph, &held.object);
}

int reset_graph_marks(const struct door *door)
{
    uint64_t zero = 0;
    return CALL(door->name, (word)device, USED_HIGH, A(zero))
               ?: CALL(door->name, (word)device, RESERVED_HIGH, A(zero));
}

/* -------- and gives back -------- */

static int trim_after(int code)
{
    code = code ?: DO(cuCtxSynchronize);
    if (code)
        return code;
    look("freed, and kept for graphs");
    return DO(cuDeviceGraphMemTrim, (word)device);
}

int free_of_graph(const struct way *way)
{
    return trim_after(CALL(way->name, held.object));
}

int free_of_graph_in_stream(const struct way *way)
{
    return trim_after(CALL(way->name, held.object, held.stream));
}

int free_by_graph(const struct way *way)
{
    word freeing = 0, node = 0, runs = 0;
    return trim_after(DO(cuGraphCreate, A(freeing), 0) ?: CALL(way->name, A(node), freeing, 0, 0, held.object)
                          ?: DO(cuGraphInstantiateWithFlags, A(runs), freeing, 0)
                          ?: DO(cuGraphLaunch, runs, held.stream));
}

int free_and_trim(const struct way *way)
{
    int code = DO(cuMemFreeAsync, held.object, held.stream) ?: DO(cuCtxSynchronize)
                   ?: DO(cuGraphExecDestroy, *executable) ?: DO(cuGraphDestroy, *graph);
    return code ?: CALL(way->name, (word)device);
}

int trim_graphs(const struct way *way)
{
    return CALL(way->name, (word)device);
}

int destroy_graph(const struct way *way)
{
    return CALL(way->name, *graph);
}

int synchronise(const struct way *way)
{
    return CALL(way->name, 0);
}
