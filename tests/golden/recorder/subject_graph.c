/* subject_graph.c -- graphs: nodes, edges, instances, updates. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

static int calls;

static void count(void *data)
{
    calls++;
}

static struct kernel_node kernel_node(void)
{
    static uint64_t ns = 1000;
    static void *params[] = {&ns};
    return (struct kernel_node){
        .function = spin_function(), .grid = {1, 1, 1}, .block = {1, 1, 1}, .params = params};
}

static size_t counted(word graph)
{
    size_t count = 0;
    DO(cuGraphGetNodes, graph, 0, A(count));
    return count;
}

static void nodes(void)
{
    struct kernel_node kernel = kernel_node();
    struct memset_node set = {.value = 1, .element = 1, .width = 64, .height = 1};
    struct host_node host = {count, NULL};
    word graph = 0, node[8] = {0}, context = 0, memory = 0, found = 0, event = new_event(0);
    int type = 99;
    DO(cuCtxGetCurrent, A(context));
    DO(cuMemAlloc_v2, A(memory), 4096);
    set.address = memory;
    CALL(cuGraphCreate, "", A(graph), 0);
    CALL(cuGraphCreate, "flags 1", A(found), 1);
    CALL(cuGraphCreate, "NULL", 0, 0);
    CALL(cuGraphAddEmptyNode, "", A(node[0]), graph, 0, 0);
    CALL(cuGraphAddEmptyNode, "NULL", 0, graph, 0, 0);
    CALL(cuGraphAddEmptyNode, "graph NULL", A(found), 0, 0, 0);
    CALL(cuGraphAddEmptyNode, "dependencies NULL", A(found), graph, 0, 1);
    CALL(cuGraphAddKernelNode_v2, "", A(node[1]), graph, P(&node[0]), 1, A(kernel));
    CALL(cuGraphAddKernelNode_v2, "parameters NULL", A(found), graph, 0, 0, 0);
    CALL(cuGraphAddMemsetNode, "", A(node[2]), graph, P(&node[0]), 1, A(set), context);
    set.element = 3;
    CALL(cuGraphAddMemsetNode, "elements of 3 bytes", A(found), graph, 0, 0, A(set), context);
    set.element = 1;
    CALL(cuGraphAddHostNode, "", A(node[3]), graph, P(&node[1]), 2, A(host));
    CALL(cuGraphAddHostNode, "parameters NULL", A(found), graph, 0, 0, 0);
    CALL(cuGraphAddEventRecordNode, "", A(node[4]), graph, 0, 0, event);
    CALL(cuGraphAddEventRecordNode, "event NULL", A(found), graph, 0, 0, 0);
    CALL(cuGraphAddEventWaitNode, "", A(node[5]), graph, P(&node[4]), 1, event);
    VALUE("nodes", counted(graph));
    for (unsigned i = 0; i < 6; i++) {
        CALL(cuGraphNodeGetType, text_of("node %u", i), node[i], A(type));
        VALUE("type", type);
    }
    CALL(cuGraphNodeGetType, "NULL", node[0], 0);
    CALL(cuGraphNodeGetType, "of NULL", 0, A(type));
    size_t many = 0;
    CALL(cuGraphGetNodes, "count", graph, 0, A(many));
    VALUE("nodes", many);
    CALL(cuGraphGetNodes, "NULL", graph, 0, 0);
    CALL(cuGraphGetRootNodes, "count", graph, 0, A(many));
    VALUE("nodes", many);
    CALL(cuGraphGetEdges, "count", graph, 0, 0, A(many));
    VALUE("edges", many);
    CALL(cuGraphNodeGetDependencies, "count", node[3], 0, A(many));
    VALUE("nodes", many);
    CALL(cuGraphNodeGetDependentNodes, "count", node[0], 0, A(many));
    VALUE("nodes", many);
    CALL(cuGraphAddDependencies, "to itself", graph, P(&node[0]), P(&node[0]), 1);
    CALL(cuGraphAddDependencies, "a circle", graph, P(&node[3]), P(&node[0]), 1);
    CALL(cuGraphAddDependencies, "twice", graph, P(&node[0]), P(&node[1]), 1);
    CALL(cuGraphAddDependencies, "", graph, P(&node[3]), P(&node[4]), 1);
    CALL(cuGraphAddDependencies, "none", graph, 0, 0, 0);
    CALL(cuGraphRemoveDependencies, "", graph, P(&node[3]), P(&node[4]), 1);
    CALL(cuGraphRemoveDependencies, "again", graph, P(&node[3]), P(&node[4]), 1);
    struct kernel_node said = {0};
    CALL(cuGraphKernelNodeGetParams_v2, "", node[1], A(said));
    VALUE("threads", said.block[0]);
    CALL(cuGraphKernelNodeGetParams_v2, "of a memset node", node[2], A(said));
    kernel.block[0] = 0;
    CALL(cuGraphKernelNodeSetParams_v2, "no threads", node[1], A(kernel));
    kernel.block[0] = 2;
    CALL(cuGraphKernelNodeSetParams_v2, "", node[1], A(kernel));
    CALL(cuGraphEventRecordNodeGetEvent, "", node[4], A(found));
    VALUE("the same", found == event);
    CALL(cuGraphChildGraphNodeGetGraph, "of a kernel node", node[1], A(found));
    word clone = 0, child = 0;
    CALL(cuGraphClone, "", A(clone), graph);
    CALL(cuGraphClone, "NULL", 0, graph);
    CALL(cuGraphClone, "of NULL", A(clone), 0);
    CALL(cuGraphNodeFindInClone, "", A(found), node[1], clone);
    CALL(cuGraphNodeFindInClone, "in no clone", A(found), node[1], graph);
    CALL(cuGraphAddChildGraphNode, "", A(child), graph, 0, 0, clone);
    CALL(cuGraphAddChildGraphNode, "of NULL", A(found), graph, 0, 0, 0);
    CALL(cuGraphDestroyNode, "", node[5]);
    CALL(cuGraphDestroyNode, "NULL", 0);
    CALL(cuGraphDestroy, "", graph);
    CALL(cuGraphDestroy, "NULL", 0);
    DO(cuGraphDestroy, clone);
}

static void instances(void)
{
    struct kernel_node kernel = kernel_node();
    struct host_node host = {count, NULL};
    word graph = 0, node = 0, after = 0, instance = 0, stream = new_stream(1), found = 0;
    word flags = 99;
    unsigned enabled = 9;
    DO(cuGraphCreate, A(graph), 0);
    DO(cuGraphAddKernelNode_v2, A(node), graph, 0, 0, A(kernel));
    DO(cuGraphAddHostNode, A(after), graph, A(node), 1, A(host));
    static const unsigned options[] = {0, 1, 2, 3, 4, 8, 16, 0x1000};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        instance = 0;
        if (CALL(cuGraphInstantiateWithFlags, text_of("flags %u", options[i]), A(instance), graph,
                 options[i]))
            continue;
        CALL(cuGraphExecGetFlags, text_of("made with %u", options[i]), instance, A(flags));
        VALUE("flags", flags);
        CALL(cuGraphExecDestroy, text_of("made with %u", options[i]), instance);
    }
    CALL(cuGraphInstantiateWithFlags, "NULL", 0, graph, 0);
    CALL(cuGraphInstantiateWithFlags, "of NULL", A(found), 0, 0);
    CALL(cuGraphInstantiateWithFlags, "", A(instance), graph, 0);
    calls = 0;
    CALL(cuGraphLaunch, "", instance, stream);
    CALL(cuStreamSynchronize, "after a graph", stream);
    VALUE("calls", calls);
    CALL(cuGraphLaunch, "in the legacy stream", instance, 0);
    CALL(cuGraphLaunch, "NULL", 0, stream);
    CALL(cuGraphUpload, "", instance, stream);
    CALL(cuGraphUpload, "NULL", 0, stream);
    CALL(cuGraphNodeGetEnabled, "", instance, node, A(enabled));
    VALUE("enabled", enabled);
    CALL(cuGraphNodeSetEnabled, "to 0", instance, node, 0);
    CALL(cuGraphNodeGetEnabled, "after 0", instance, node, A(enabled));
    VALUE("enabled", enabled);
    CALL(cuGraphNodeSetEnabled, "a host node", instance, after, 0);
    kernel.block[0] = 4;
    CALL(cuGraphExecKernelNodeSetParams_v2, "", instance, node, A(kernel));
    kernel.function = kernel_named("none");
    CALL(cuGraphExecKernelNodeSetParams_v2, "another function", instance, node, A(kernel));
    CALL(cuGraphExecKernelNodeSetParams_v2, "of a host node", instance, after, A(kernel));
    struct {
        int result;
        uint64_t node, from;
    } why = {99, 0, 0};
    CALL(cuGraphExecUpdate_v2, "by the same", instance, graph, A(why));
    VALUE("result", why.result);
    word other = 0, extra = 0;
    DO(cuGraphCreate, A(other), 0);
    DO(cuGraphAddEmptyNode, A(extra), other, 0, 0);
    CALL(cuGraphExecUpdate_v2, "by another", instance, other, A(why));
    CALL(cuGraphExecUpdate_v2, "NULL", instance, graph, 0);
    CALL(cuGraphExecDestroy, "", instance);
    CALL(cuGraphExecDestroy, "NULL", 0);
    DO(cuCtxSynchronize);
    CALL(cuGraphDestroy, "of instances", graph);
}

static void memory_nodes(void)
{
    struct {
        struct pool pool;
        const struct access *access;
        size_t count, bytes;
        uint64_t address;
    } wanted = {.pool = {.type = 1, .location = {1, 0}}, .bytes = 4 * MIB};
    word graph = 0, node = 0, release = 0, instance = 0, stream = new_stream(1);
    uint64_t value = 0;
    DO(cuGraphCreate, A(graph), 0);
    CALL(cuGraphAddMemAllocNode, "", A(node), graph, 0, 0, A(wanted));
    VALUE("an address", wanted.address != 0);
    CALL(cuGraphAddMemFreeNode, "", A(release), graph, A(node), 1, wanted.address);
    CALL(cuGraphAddMemFreeNode, "0", A(release), graph, A(node), 1, 0);
    wanted.bytes = 0;
    CALL(cuGraphAddMemAllocNode, "0 bytes", A(release), graph, 0, 0, A(wanted));
    word clone = 0;
    CALL(cuGraphClone, "with memory", A(clone), graph);
    CALL(cuGraphDestroyNode, "that allocates", node);
    CALL(cuGraphInstantiateWithFlags, "with memory", A(instance), graph, 0);
    CALL(cuGraphLaunch, "with memory", instance, stream);
    CALL(cuStreamSynchronize, "with memory", stream);
    for (unsigned i = 0; i <= 4; i++) {
        CALL(cuDeviceGetGraphMemAttribute, text_of("%u", i), 0, i, A(value));
        VALUE("steps of 2 MiB", in_steps((int64_t)value));
    }
    CALL(cuDeviceSetGraphMemAttribute, "0", 0, 0, A(value));
    CALL(cuDeviceGetGraphMemAttribute, "NULL", 0, 0, 0);
    CALL(cuDeviceGraphMemTrim, "", 0);
    CALL(cuDeviceGraphMemTrim, "device 99", 99);
    CALL(cuGraphExecDestroy, "with memory", instance);
    CALL(cuGraphDestroy, "with memory", graph);
}

static void objects(void)
{
    word object = 0, graph = 0;
    DO(cuGraphCreate, A(graph), 0);
    CALL(cuUserObjectCreate, "", A(object), 0, P(count), 1, 1);
    CALL(cuUserObjectCreate, "no destructor", A(object), 0, 0, 1, 1);
    CALL(cuUserObjectCreate, "flags 0", A(object), 0, P(count), 1, 0);
    CALL(cuUserObjectCreate, "no reference", A(object), 0, P(count), 0, 1);
    DO(cuUserObjectCreate, A(object), 0, P(count), 1, 1);
    CALL(cuUserObjectRetain, "1", object, 1);
    CALL(cuUserObjectRetain, "0", object, 0);
    CALL(cuGraphRetainUserObject, "", graph, object, 1, 0);
    CALL(cuGraphRetainUserObject, "flags 9", graph, object, 1, 9);
    CALL(cuGraphReleaseUserObject, "", graph, object, 1);
    CALL(cuUserObjectRelease, "2", object, 2);
    CALL(cuUserObjectRelease, "NULL", 0, 1);
    DO(cuGraphDestroy, graph);
}

void record_graph(void)
{
    nodes();
    instances();
    memory_nodes();
    objects();
}
