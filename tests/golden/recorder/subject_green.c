/* subject_green.c -- green contexts: parts of a device's multiprocessors. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

enum { INVALID = 0, SM = 1, WORKQUEUE_CONFIG = 1000 };

/* CUdevResource of any version: the type, then at byte 96 the counts. */
struct resource {
    int type;
    char internal[92];
    unsigned count, least, alignment;
    char rest[512];
};

static void split(struct resource *all)
{
    struct resource part = {0}, rest = {0};
    unsigned groups = 1;
    CALL(cuDevSmResourceSplitByCount, "how many of 8", 0, A(groups), P(all), 0, 0, 8);
    DEVICE_VALUE("groups", groups);
    groups = 1;
    CALL(cuDevSmResourceSplitByCount, "one of 8", A(part), A(groups), P(all), A(rest), 0, 8);
    VALUE("groups", groups);
    DEVICE_VALUE("count", part.count);
    DEVICE_VALUE("rest", rest.count);
    groups = 1;
    CALL(cuDevSmResourceSplitByCount, "one of 1", A(part), A(groups), P(all), A(rest), 0, 1);
    DEVICE_VALUE("count", part.count);
    groups = 1;
    CALL(cuDevSmResourceSplitByCount, "one of 1, not scheduled together", A(part), A(groups), P(all), A(rest),
         1, 1);
    DEVICE_VALUE("count", part.count);
    groups = 1;
    CALL(cuDevSmResourceSplitByCount, "one of 100000", A(part), A(groups), P(all), 0, 0, 100000);
    groups = 1;
    CALL(cuDevSmResourceSplitByCount, "flags 0x100", A(part), A(groups), P(all), 0, 0x100, 8);
    CALL(cuDevSmResourceSplitByCount, "groups NULL", A(part), 0, P(all), 0, 0, 8);
    CALL(cuDevSmResourceSplitByCount, "of NULL", A(part), A(groups), 0, 0, 0, 8);
    struct resource none = {.type = INVALID};
    CALL(cuDevSmResourceSplitByCount, "of an invalid one", A(part), A(groups), A(none), 0, 0, 8);
}

static void used(word green)
{
    struct resource said = {0};
    word context = 0, stream = 0, found = 0, primary = 0, event = new_event(0);
    int device = 9;
    uint64_t ns = 100000;
    void *params[] = {&ns};
    DO(cuCtxGetCurrent, A(primary));
    CALL(cuGreenCtxGetDevResource, "", green, A(said), SM);
    DEVICE_VALUE("count", said.count);
    CALL(cuGreenCtxGetDevResource, "type 0", green, A(said), INVALID);
    CALL(cuGreenCtxGetDevResource, "NULL", green, 0, SM);
    CALL(cuGreenCtxGetDevResource, "of NULL", 0, A(said), SM);
    CALL(cuGreenCtxStreamCreate, "", A(stream), green, 1, 0);
    CALL(cuGreenCtxStreamCreate, "a blocking one", A(found), green, 0, 0);
    CALL(cuGreenCtxStreamCreate, "NULL", 0, green, 1, 0);
    CALL(cuGreenCtxStreamCreate, "of NULL", A(found), 0, 1, 0);
    CALL(cuStreamGetGreenCtx, "", stream, A(found));
    VALUE("the same", found == green);
    CALL(cuStreamGetGreenCtx, "of a plain stream", new_stream(1), A(found));
    VALUE("none", found == 0);
    CALL(cuStreamGetCtx, "of a green context's stream", stream, A(found));
    CALL(cuStreamGetCtx_v2, "of a green context's stream", stream, A(found), A(context));
    VALUE("the same", context == green);
    CALL(cuLaunchKernel, "in a green context's stream", spin_function(), 1, 1, 1, 1, 1, 1, 0, stream,
         P(params), 0);
    CALL(cuGreenCtxRecordEvent, "", green, event);
    CALL(cuGreenCtxRecordEvent, "NULL", green, 0);
    CALL(cuGreenCtxWaitEvent, "", green, event);
    CALL(cuGreenCtxWaitEvent, "of NULL", 0, event);
    CALL(cuStreamSynchronize, "a green context's", stream);
    CALL(cuCtxFromGreenCtx, "", A(context), green);
    CALL(cuCtxFromGreenCtx, "NULL", 0, green);
    CALL(cuCtxFromGreenCtx, "of NULL", A(found), 0);
    CALL(cuCtxSetCurrent, "a green context", context);
    CALL(cuCtxGetDevice, "of a green context", A(device));
    VALUE("device", device);
    word memory = 0;
    CALL(cuMemAlloc_v2, "in a green context", A(memory), MIB);
    CALL(cuStreamCreate, "in a green context, blocking", A(found), 0);
    CALL(cuStreamCreate, "in a green context", A(found), 1);
    CALL(cuCtxGetDevResource, "of a green context", context, A(said), SM);
    DEVICE_VALUE("count", said.count);
    CALL(cuCtxSetCurrent, "back", primary);
    CALL(cuStreamDestroy_v2, "a green context's", stream);
}

void record_green(void)
{
    struct resource all = {0}, part = {0}, said = {0};
    word description = 0, green = 0, context = 0;
    unsigned groups = 1;
    unsigned long long id = 0;
    CALL(cuDeviceGetDevResource, "multiprocessors", 0, A(all), SM);
    VALUE("type", all.type);
    DEVICE_VALUE("count", all.count);
    CALL(cuDeviceGetDevResource, "type 0", 0, A(said), INVALID);
    CALL(cuDeviceGetDevResource, "type 99", 0, A(said), 99);
    CALL(cuDeviceGetDevResource, "device 99", 99, A(said), SM);
    CALL(cuDeviceGetDevResource, "NULL", 0, 0, SM);
    DO(cuCtxGetCurrent, A(context));
    CALL(cuCtxGetDevResource, "multiprocessors", context, A(said), SM);
    DEVICE_VALUE("count", said.count);
    CALL(cuCtxGetDevResource, "type 99", context, A(said), 99);
    CALL(cuCtxGetDevResource, "NULL", context, 0, SM);
    split(&all);
    DO(cuDevSmResourceSplitByCount, A(part), A(groups), A(all), 0, 0, 8);
    CALL(cuDevResourceGenerateDesc, "", A(description), A(part), 1);
    CALL(cuDevResourceGenerateDesc, "none", A(description), A(part), 0);
    CALL(cuDevResourceGenerateDesc, "NULL", 0, A(part), 1);
    CALL(cuDevResourceGenerateDesc, "of NULL", A(description), 0, 1);
    CALL(cuGreenCtxCreate, "flags 0", A(green), description, 0, 0);
    CALL(cuGreenCtxCreate, "description NULL", A(green), 0, 0, 1);
    CALL(cuGreenCtxCreate, "NULL", 0, description, 0, 1);
    CALL(cuGreenCtxCreate, "device 99", A(green), description, 99, 1);
    green = 0;
    CALL(cuGreenCtxCreate, "", A(green), description, 0, 1);
    CALL(cuGreenCtxGetId, "", green, A(id));
    if (green)
        used(green);
    CALL(cuGreenCtxDestroy, "", green);
    CALL(cuGreenCtxDestroy, "NULL", 0);
}
