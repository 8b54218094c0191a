/* groups.c -- what is recorded, in this order: the harmless and quick first, what may upset a driver last. */
#include "recorder.h"
#include "subjects.h"

const struct group groups[] = {
    {"before init", record_before_init, true},
    {"no device", record_no_device, true},
    {"no context", record_no_context, true},
    {"lookup", record_lookup, true},
    {"device", record_device, true},
    {"limits", record_limits, false},
    {"memory", record_memory, false},
    {"pitched", record_pitched, false},
    {"host memory", record_host, false},
    {"managed", record_managed, false},
    {"pointer attributes", record_pointer, false},
    {"pool", record_pool, false},
    {"vmm", record_vmm, false},
    {"array", record_array, false},
    {"copy", record_copy, false},
    {"stream", record_stream, false},
    {"event", record_event, false},
    {"module", record_module, false},
    {"function", record_function, false},
    {"library", record_library, false},
    {"launch", record_launch, false},
    {"occupancy", record_occupancy, false},
    {"graph", record_graph, false},
    {"capture", record_capture, false},
    {"ipc", record_ipc, true},
    {"green contexts", record_green, false},
    {"context", record_context, true},
    {"destroyed handles", record_destroyed, false},
    {"trap", record_trap, false},
    {"illegal address", record_illegal_address, false},
};
const unsigned group_count = sizeof(groups) / sizeof(groups[0]);
