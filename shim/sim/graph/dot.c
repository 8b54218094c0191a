/* dot.c -- writing a graph as a DOT file: one cluster for each graph, one box for each node. */
#include "graph_memory.h"
#include "node.h"

#include <stdio.h>

/* CUgraphDebugDot_flags */
#define VERBOSE     (1u << 0)
#define KERNEL      (1u << 2)
#define COPY        (1u << 3)
#define FILL        (1u << 4)
#define HOST        (1u << 5)
#define EVENT       (1u << 6)
#define HANDLES     (1u << 10)
#define ALLOC       (1u << 11)
#define FREE        (1u << 12)
#define BATCH       (1u << 13)
#define CONDITIONAL (1u << 15)
#define ALL_FLAGS   0xffffu

static const char *const type_name[] = {
    "KERNEL",       "MEMCPY",       "MEMSET",           "HOST",           "GRAPH",     "EMPTY",
    "WAIT EVENT",   "EVENT RECORD", "SEMAPHORE SIGNAL", "SEMAPHORE WAIT", "MEM ALLOC", "MEM FREE",
    "BATCH MEM OP", "CONDITIONAL",
};

static const char *side(bool host)
{
    return host ? "HOST" : "DEVICE";
}

static void print_details(FILE *file, const struct sim_graph_node *node, unsigned flags)
{
    const struct sim_work *work = &node->task.work;
    const struct sim_launch *launch = &work->launch;
    if (node->type == SIM_NODE_KERNEL) {
        fprintf(file, "\\n%s", launch->function->name);
        if (flags & KERNEL)
            fprintf(file, "\\ngrid %u x %u x %u, block %u x %u x %u, shared %u", launch->grid[0],
                    launch->grid[1], launch->grid[2], launch->block[0], launch->block[1], launch->block[2],
                    launch->shared_bytes);
    } else if (node->type == SIM_NODE_MEMCPY) {
        fprintf(file, "\\n%s TO %s", side(work->copy.source_host), side(work->copy.destination_host));
        if (flags & COPY)
            fprintf(file, "\\n%p to %p, %lu x %lu x %lu", (const void *)work->copy.source,
                    (void *)work->copy.destination, work->copy.width, work->copy.height, work->copy.depth);
    } else if (node->type == SIM_NODE_MEMSET && flags & FILL)
        fprintf(file, "\\n%p, value %u, %lu x %lu of %u", (void *)work->fill.destination, work->fill.value,
                work->fill.width, work->fill.height, work->fill.element_bytes);
    else if (node->type == SIM_NODE_HOST && flags & HOST)
        fprintf(file, "\\nargument %p", work->host.argument);
    else if ((work->kind == SIM_WORK_RECORD || work->kind == SIM_WORK_WAIT) && flags & EVENT)
        fprintf(file, "\\nevent %p", (void *)work->event.event);
    else if ((node->type == SIM_NODE_MEM_ALLOC && flags & ALLOC) ||
             (node->type == SIM_NODE_MEM_FREE && flags & FREE))
        fprintf(file, "\\n%#lx, %lu bytes", node->task.memory->address, node->task.memory->bytes);
    else if (node->type == SIM_NODE_BATCH_MEM_OP && flags & BATCH)
        fprintf(file, "\\n%u operations", node->task.batch.count);
    else if (node->type == SIM_NODE_CONDITIONAL && flags & CONDITIONAL)
        fprintf(file, "\\nhandle %llu, kind %u", node->task.condition.handle, node->task.condition.kind);
}

static void print_graph(FILE *file, const struct sim_graph *graph, unsigned flags)
{
    fprintf(file, "subgraph cluster_%u {\nlabel=\"graph_%u\"\n", graph->id, graph->id);
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_graph_node *node = graph->nodes.node[i];
        fprintf(file, "\"graph_%u_node_%u\" [shape=\"box\" label=\"%u\\n%s", graph->id, node->local_id,
                node->local_id, type_name[node->type]);
        print_details(file, node, flags);
        if (flags & HANDLES)
            fprintf(file, "\\nhandle %p", (const void *)node);
        fputs("\"]\n", file);
        for (uint32_t k = 0; k < node->before.count; k++)
            fprintf(file, "\"graph_%u_node_%u\" -> \"graph_%u_node_%u\"\n", graph->id,
                    node->before.node[k]->local_id, graph->id, node->local_id);
    }
    fputs("}\n", file);
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        for (uint32_t k = 0; k < graph->nodes.node[i]->inner_count; k++)
            print_graph(file, graph->nodes.node[i]->inner[k], flags);
}

SIM_API(cuGraphDebugDotPrint, (CUgraph graph, const char *path, unsigned flags))
{
    SIM_ENTER(cuGraphDebugDotPrint);
    if (!sim_is(graph, SIM_GRAPH) || !path || flags & ~ALL_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    FILE *file = fopen(path, "we");
    if (!file)
        return CUDA_ERROR_OPERATING_SYSTEM;
    fputs("digraph dot {\n", file);
    print_graph(file, graph, flags & VERBOSE ? ALL_FLAGS : flags);
    fputs("}\n", file);
    int failed = ferror(file);
    return fclose(file) || failed ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
}
