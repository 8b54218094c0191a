/* node_memory.c -- nodes that allocate and free memory. */
#include "graph_memory.h"
#include "node.h"

#include <stdlib.h>
#include <string.h>

/* An address whose last allocation of that size is freed in the graph before the new node: it may have it again. */
static CUresult find_passed_on(struct sim_graph_node *node, CUdevice device, uint64_t bytes,
                               struct sim_graph_memory **found)
{
    uint64_t walk = sim_graph_walk();
    const struct sim_node_list *nodes = &node->graph->nodes;
    SIM_TRY(sim_graph_mark_before(node, walk));
    *found = NULL;
    for (uint32_t i = 0; i < nodes->count && !*found; i++) {
        const struct sim_graph_node *other = nodes->node[i];
        struct sim_graph_memory *memory = other->task.memory;
        if (other->type == SIM_NODE_MEM_FREE && other->mark == walk && memory->device == device &&
            memory->freed_in == node->graph->id && memory->owner == node->graph->id &&
            bytes <= memory->space && bytes > memory->space - SIM_PHYSICAL_GRAIN)
            *found = memory;
    }
    return CUDA_SUCCESS;
}

static CUresult allocate(struct sim_graph_node *node, CUdevice device, uint64_t bytes)
{
    struct sim_graph_memory *memory;
    SIM_TRY(find_passed_on(node, device, bytes, &memory));
    if (memory) {
        memory->freed_in = 0;
        memory->bytes = bytes;
        sim_graph_memory_use(memory);
    } else
        SIM_TRY(sim_graph_memory_new(node->graph, device, bytes, &memory));
    node->task.memory = memory;
    return CUDA_SUCCESS;
}

CUresult sim_add_alloc(SIM_PLACE, CUdevice device, uint64_t bytes, CUdeviceptr *address)
{
    struct sim_graph_node *made;
    if (!node || !sim_is(graph, SIM_GRAPH) || !bytes || graph->parent)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_add(graph, SIM_NODE_MEM_ALLOC, before, data, count, &made));
    CUresult result = allocate(made, device, bytes);
    if (result) {
        sim_graph_remove(made);
        return result;
    }
    *address = made->task.memory->address;
    *node = made;
    return CUDA_SUCCESS;
}

/* In its own graph or in others, not in both; in one graph once. */
static bool may_free(const struct sim_graph *graph, const struct sim_graph_memory *memory)
{
    if (!memory || graph->parent)
        return false;
    if (memory->owner == graph->id)
        return memory->freed_in == 0;
    if (memory->freed_in == memory->owner)
        return false;
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.node[i]->type == SIM_NODE_MEM_FREE && graph->nodes.node[i]->task.memory == memory)
            return false;
    return true;
}

CUresult sim_add_free(SIM_PLACE, CUdeviceptr address)
{
    struct sim_graph_node *made;
    if (!node || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_graph_memory *memory = sim_graph_memory_at(address);
    if (!may_free(graph, memory))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_add(graph, SIM_NODE_MEM_FREE, before, data, count, &made));
    sim_graph_memory_use(memory);
    made->task.memory = memory;
    memory->freed_in = graph->id;
    *node = made;
    return CUDA_SUCCESS;
}

CUresult sim_add_alloc_params(SIM_PLACE, struct sim_alloc_params *p)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->props.allocType != CU_MEM_ALLOCATION_TYPE_PINNED || (p->access_count && !p->access) ||
        p->access_count > (size_t)sim_driver.device_count)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->props.location.type != CU_MEM_LOCATION_TYPE_DEVICE || p->props.handleTypes)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!sim_device_valid(p->props.location.id))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < p->access_count; i++)
        if (p->access[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
            !sim_device_valid(p->access[i].location.id) ||
            p->access[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
    return sim_add_alloc(node, graph, before, data, count, p->props.location.id, p->bytes, &p->address);
}

SIM_API(cuGraphAddMemAllocNode, (CUgraphNode * node, CUgraph graph, const CUgraphNode *before, size_t count,
                                 struct sim_alloc_params *params))
{
    SIM_ENTER(cuGraphAddMemAllocNode);
    return sim_add_alloc_params(node, graph, before, NULL, count, params);
}

SIM_API(cuGraphAddMemFreeNode,
        (CUgraphNode * node, CUgraph graph, const CUgraphNode *before, size_t count, CUdeviceptr address))
{
    SIM_ENTER(cuGraphAddMemFreeNode);
    return sim_add_free(node, graph, before, NULL, count, address);
}

/* Access of other devices is not kept: peers see all memory here. */
void sim_read_alloc(const struct sim_graph_node *node, struct sim_alloc_params *params)
{
    const struct sim_graph_memory *memory = node->task.memory;
    *params = (struct sim_alloc_params){
        .props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, memory->device}},
        .bytes = memory->bytes,
        .address = memory->address,
    };
}

SIM_API(cuGraphMemAllocNodeGetParams, (CUgraphNode node, struct sim_alloc_params *params))
{
    SIM_ENTER(cuGraphMemAllocNodeGetParams);
    if (!sim_is_node(node, SIM_NODE_MEM_ALLOC) || !params)
        return CUDA_ERROR_INVALID_VALUE;
    sim_read_alloc(node, params);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphMemFreeNodeGetParams, (CUgraphNode node, CUdeviceptr *address))
{
    SIM_ENTER(cuGraphMemFreeNodeGetParams);
    if (!sim_is_node(node, SIM_NODE_MEM_FREE) || !address)
        return CUDA_ERROR_INVALID_VALUE;
    *address = node->task.memory->address;
    return CUDA_SUCCESS;
}
