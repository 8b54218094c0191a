/* subject_capture.c -- what a call answers while a stream is being captured, in each of the three modes. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <pthread.h>

enum { GLOBAL, THREAD_LOCAL, RELAXED, MODES };

static const char *const mode_names[MODES] = {"global", "thread-local", "relaxed"};

/* What every case may use; made anew for none, since none changes it. */
static struct {
    word stream, other, blocking, event, captured, memory, host, function;
} have;

static void none(void *data)
{
}

struct attempt {
    const char *function;
    unsigned count;
    word args[8];
};

/* Each in a capture of its own; a case is what was called inside, then how the capture ended. */
static void one(unsigned mode, const struct attempt *attempt)
{
    word graph = 0;
    size_t nodes = 0;
    DO(cuStreamBeginCapture_v2, have.stream, mode);
    row_call(attempt->function, text_of("in a %s capture", mode_names[mode]), attempt->count, attempt->args);
    CALL(cuStreamEndCapture, text_of("%s, after %s", mode_names[mode], attempt->function), have.stream,
         A(graph));
    if (!graph)
        return;
    DO(cuGraphGetNodes, graph, 0, A(nodes));
    VALUE("nodes", nodes);
    DO(cuGraphDestroy, graph);
}

static void attempts(void)
{
    static word out, out2;
    static int number;
    static char there[64];
    const struct attempt all[] = {
        {"cuStreamSynchronize", 1, {have.stream}},
        {"cuStreamQuery", 1, {have.stream}},
        {"cuStreamSynchronize", 1, {have.other}},
        {"cuStreamQuery", 1, {have.other}},
        {"cuStreamSynchronize", 1, {0}},
        {"cuCtxSynchronize", 0, {0}},
        {"cuEventQuery", 1, {have.event}},
        {"cuEventSynchronize", 1, {have.event}},
        {"cuEventRecord", 2, {have.captured, have.stream}},
        {"cuEventRecord", 2, {have.event, have.other}},
        {"cuStreamWaitEvent", 3, {have.stream, have.event, 0}},
        {"cuMemAlloc_v2", 2, {A(out), MIB}},
        {"cuMemFree_v2", 1, {0}},
        {"cuMemAllocHost_v2", 2, {A(out), 4096}},
        {"cuMemHostAlloc", 3, {A(out), 4096, 0}},
        {"cuMemAllocManaged", 3, {A(out), 4096, 1}},
        {"cuMemGetInfo_v2", 2, {A(out), A(out2)}},
        {"cuMemAllocAsync", 3, {A(out), MIB, have.stream}},
        {"cuMemcpyHtoD_v2", 3, {have.memory, P(there), 64}},
        {"cuMemcpyDtoH_v2", 3, {P(there), have.memory, 64}},
        {"cuMemcpyHtoDAsync_v2", 4, {have.memory, have.host, 64, have.stream}},
        {"cuMemcpyHtoDAsync_v2", 4, {have.memory, have.host, 64, 0}},
        {"cuMemsetD8_v2", 3, {have.memory, 0, 64}},
        {"cuMemsetD8Async", 4, {have.memory, 0, 64, have.stream}},
        {"cuMemsetD8Async", 4, {have.memory, 0, 64, 0}},
        {"cuMemsetD8Async", 4, {have.memory, 0, 64, have.other}},
        {"cuLaunchHostFunc", 3, {have.stream, P(none), 0}},
        {"cuStreamAddCallback", 4, {have.stream, P(none), 0, 0}},
        {"cuStreamCreate", 2, {A(out), 1}},
        {"cuEventCreate", 2, {A(out), 0}},
        {"cuStreamAttachMemAsync", 4, {have.stream, have.memory, 0, 1}},
        {"cuStreamBeginCapture_v2", 2, {have.stream, 0}},
        {"cuStreamIsCapturing", 2, {have.stream, A(number)}},
        {"cuStreamGetFlags", 2, {have.stream, A(number)}},
        {"cuFuncGetAttribute", 3, {A(number), 0, have.function}},
        {"cuPointerGetAttribute", 3, {A(number), 2, have.memory}},
        {"cuGraphCreate", 2, {A(out), 0}},
        {"cuCtxGetDevice", 1, {A(number)}},
        {"cuDeviceGetAttribute", 3, {A(number), 1, 0}},
    };
    for (unsigned mode = 0; mode < MODES; mode++)
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
            one(mode, &all[i]);
}

static void beginnings(void)
{
    word graph = 0, id = 0;
    int status = 9;
    unsigned mode = 9;
    CALL(cuStreamBeginCapture_v2, "the legacy stream", 0, 0);
    CALL(cuStreamBeginCapture_v2, "the per-thread stream", 2, 0);
    CALL(cuStreamEndCapture, "the per-thread stream", 2, A(graph));
    CALL(cuStreamBeginCapture_v2, "mode 9", have.stream, 9);
    CALL(cuStreamEndCapture, "without a beginning", have.stream, A(graph));
    CALL(cuStreamIsCapturing, "not capturing", have.stream, A(status));
    VALUE("status", status);
    CALL(cuStreamIsCapturing, "the legacy stream", 0, A(status));
    CALL(cuStreamIsCapturing, "NULL", have.stream, 0);
    CALL(cuStreamBeginCapture_v2, "", have.stream, 0);
    CALL(cuStreamIsCapturing, "capturing", have.stream, A(status));
    VALUE("status", status);
    CALL(cuStreamIsCapturing, "the legacy stream beside a capture", 0, A(status));
    CALL(cuStreamGetCaptureInfo_v2, "capturing", have.stream, A(status), A(id), 0, 0, 0);
    VALUE("status", status);
    CALL(cuStreamEndCapture, "NULL", have.stream, 0);
    CALL(cuStreamEndCapture, "of nothing", have.stream, A(graph));
    VALUE("a graph", graph != 0);
    CALL(cuStreamGetCaptureInfo_v2, "not capturing", have.stream, A(status), A(id), 0, 0, 0);
    VALUE("status", status);
    mode = 1;
    CALL(cuThreadExchangeStreamCaptureMode, "to 1", A(mode));
    VALUE("before", mode);
    CALL(cuThreadExchangeStreamCaptureMode, "back", A(mode));
    VALUE("before", mode);
    mode = 9;
    CALL(cuThreadExchangeStreamCaptureMode, "to 9", A(mode));
    CALL(cuThreadExchangeStreamCaptureMode, "NULL", 0);
}

static void forks(void)
{
    word graph = 0;
    int status = 9;
    DO(cuStreamBeginCapture_v2, have.stream, 0);
    CALL(cuEventRecord, "to fork", have.captured, have.stream);
    CALL(cuStreamWaitEvent, "to fork", have.other, have.captured, 0);
    CALL(cuStreamIsCapturing, "forked", have.other, A(status));
    VALUE("status", status);
    CALL(cuEventQuery, "recorded in a capture", have.captured);
    CALL(cuEventSynchronize, "recorded in a capture", have.captured);
    CALL(cuStreamEndCapture, "of a fork", have.other, A(graph));
    CALL(cuStreamEndCapture, "not joined", have.stream, A(graph));
    DO(cuStreamEndCapture, have.other, A(graph));

    DO(cuStreamBeginCapture_v2, have.stream, 0);
    DO(cuEventRecord, have.captured, have.stream);
    DO(cuStreamWaitEvent, have.other, have.captured, 0);
    DO(cuLaunchHostFunc, have.other, P(none), 0);
    CALL(cuStreamEndCapture, "work that was not joined", have.stream, A(graph));

    DO(cuStreamBeginCapture_v2, have.stream, 0);
    DO(cuStreamBeginCapture_v2, have.other, 0);
    DO(cuEventRecord, have.captured, have.stream);
    CALL(cuStreamWaitEvent, "of another capture", have.other, have.captured, 0);
    CALL(cuStreamEndCapture, "the first of two", have.stream, A(graph));
    CALL(cuStreamEndCapture, "the second of two", have.other, A(graph));

    DO(cuStreamBeginCapture_v2, have.blocking, 0);
    CALL(cuMemsetD8Async, "stream 0 beside a blocking capture", have.memory, 0, 64, 0);
    CALL(cuStreamEndCapture, "after work in stream 0", have.blocking, A(graph));

    DO(cuStreamBeginCapture_v2, have.stream, 0);
    CALL(cuStreamDestroy_v2, "capturing", have.stream);
    have.stream = new_stream(1);
}

static void *in_thread(void *data)
{
    word graph = 0, memory = 0, context = *(word *)data;
    DO(cuCtxSetCurrent, context);
    CALL(cuMemAlloc_v2, "in another thread", A(memory), MIB);
    CALL(cuStreamEndCapture, "in another thread", have.stream, A(graph));
    return NULL;
}

static void threads(void)
{
    for (unsigned mode = 0; mode < MODES; mode++) {
        word graph = 0, context = 0;
        pthread_t thread;
        DO(cuCtxGetCurrent, A(context));
        DO(cuStreamBeginCapture_v2, have.stream, mode);
        if (pthread_create(&thread, NULL, in_thread, &context) == 0)
            pthread_join(thread, NULL);
        CALL(cuStreamEndCapture, text_of("%s, after another thread", mode_names[mode]), have.stream,
             A(graph));
        DO(cuStreamEndCapture, have.stream, A(graph));
    }
}

void record_capture(void)
{
    have.stream = new_stream(1);
    have.other = new_stream(1);
    have.blocking = new_stream(0);
    have.event = new_event(0);
    have.captured = new_event(0);
    have.function = spin_function();
    DO(cuMemAlloc_v2, A(have.memory), 64 * KIB);
    DO(cuMemAllocHost_v2, A(have.host), 4096);
    DO(cuEventRecord, have.event, have.other);
    DO(cuCtxSynchronize);
    beginnings();
    attempts();
    forks();
    threads();
}
