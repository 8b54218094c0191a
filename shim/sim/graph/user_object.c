/* user_object.c -- user objects: references counted by the program and by graphs, and a destructor at the end. */
#include "graph.h"

#include <limits.h>
#include <stdlib.h>

#define NO_DESTRUCTOR_SYNC 1u
#define MOVE               1u

struct sim_user_object {
    uint32_t magic;
    _Atomic uint64_t count;
    void *argument;
    CUhostFn destroy;
};

static void release(struct sim_user_object *object, uint32_t count)
{
    if (atomic_fetch_sub(&object->count, count) != count)
        return;
    CUhostFn destroy = object->destroy;
    void *argument = object->argument;
    sim_object_free(object);
    destroy(argument);
}

static bool is_count(unsigned count)
{
    return count > 0 && count <= INT_MAX;
}

SIM_API(cuUserObjectCreate,
        (CUuserObject * out, void *argument, CUhostFn destroy, unsigned count, unsigned flags))
{
    SIM_ENTER(cuUserObjectCreate);
    if (!out || !destroy || !is_count(count) || flags != NO_DESTRUCTOR_SYNC)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_user_object *object = sim_object_new(SIM_USER_OBJECT, sizeof(*object));
    if (!object)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object->argument = argument;
    object->destroy = destroy;
    atomic_store(&object->count, count);
    *out = object;
    return CUDA_SUCCESS;
}

SIM_API(cuUserObjectRetain, (CUuserObject object, unsigned count))
{
    SIM_ENTER(cuUserObjectRetain);
    if (!sim_is(object, SIM_USER_OBJECT) || !is_count(count))
        return CUDA_ERROR_INVALID_VALUE;
    atomic_fetch_add(&object->count, count);
    return CUDA_SUCCESS;
}

/* More than there are: the driver calls that undefined; here it is refused. */
SIM_API(cuUserObjectRelease, (CUuserObject object, unsigned count))
{
    SIM_ENTER(cuUserObjectRelease);
    if (!sim_is(object, SIM_USER_OBJECT) || !is_count(count) || atomic_load(&object->count) < count)
        return CUDA_ERROR_INVALID_VALUE;
    release(object, count);
    return CUDA_SUCCESS;
}

/* -------- of graphs -------- */

static struct sim_user_reference *find(const struct sim_graph *graph, const struct sim_user_object *object)
{
    for (uint32_t i = 0; i < graph->references; i++)
        if (graph->reference[i].object == object)
            return &graph->reference[i];
    return NULL;
}

/* References that exist already become the graph's. */
static CUresult hold(struct sim_graph *graph, struct sim_user_object *object, uint32_t count)
{
    struct sim_user_reference *reference = find(graph, object);
    if (!reference) {
        struct sim_user_reference *grown =
            realloc(graph->reference, (graph->references + 1) * sizeof(*grown));
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        graph->reference = grown;
        reference = &grown[graph->references++];
        *reference = (struct sim_user_reference){.object = object};
    }
    reference->count += count;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphRetainUserObject, (CUgraph graph, CUuserObject object, unsigned count, unsigned flags))
{
    SIM_ENTER(cuGraphRetainUserObject);
    if (!sim_is(graph, SIM_GRAPH) || !sim_is(object, SIM_USER_OBJECT) || !is_count(count) || flags & ~MOVE)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & MOVE && atomic_load(&object->count) < count)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(hold(graph, object, count));
    if (!(flags & MOVE))
        atomic_fetch_add(&object->count, count);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphReleaseUserObject, (CUgraph graph, CUuserObject object, unsigned count))
{
    SIM_ENTER(cuGraphReleaseUserObject);
    if (!sim_is(graph, SIM_GRAPH) || !sim_is(object, SIM_USER_OBJECT) || !is_count(count))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_user_reference *reference = find(graph, object);
    if (!reference || reference->count < count)
        return CUDA_ERROR_INVALID_VALUE;
    reference->count -= count;
    if (!reference->count)
        *reference = graph->reference[--graph->references];
    release(object, count);
    return CUDA_SUCCESS;
}

CUresult sim_graph_share_references(const struct sim_graph *from, struct sim_graph *to)
{
    for (uint32_t i = 0; i < from->references; i++) {
        SIM_TRY(hold(to, from->reference[i].object, from->reference[i].count));
        atomic_fetch_add(&from->reference[i].object->count, from->reference[i].count);
    }
    return CUDA_SUCCESS;
}

void sim_graph_drop_references(struct sim_graph *graph)
{
    for (uint32_t i = 0; i < graph->references; i++)
        release(graph->reference[i].object, graph->reference[i].count);
    free(graph->reference);
    graph->reference = NULL;
    graph->references = 0;
}
