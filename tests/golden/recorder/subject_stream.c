/* subject_stream.c -- streams: made, asked, waited for; host functions and memory operations in them. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#define BUSY_NS 100000000ull /* long for this program, short for who waits for it */

static int calls;

static void count(void *data)
{
    calls++;
}

static void count_call(word stream, int status, void *data)
{
    calls += 10 + status;
}

static void made(void)
{
    static const unsigned flags[] = {0, 1, 2, 3, 0x100};
    static const int priorities[] = {0, -1, -2, -5, -6, -100, 1, 100};
    word stream = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        unsigned said = 9;
        int priority = 9;
        if (CALL(cuStreamCreate, text_of("flags %u", flags[i]), A(stream), flags[i]) != 0)
            continue;
        CALL(cuStreamGetFlags, text_of("made with %u", flags[i]), stream, A(said));
        VALUE("flags", said);
        CALL(cuStreamGetPriority, text_of("made with flags %u", flags[i]), stream, A(priority));
        VALUE("priority", priority);
        CALL(cuStreamDestroy_v2, text_of("made with %u", flags[i]), stream);
    }
    for (size_t i = 0; i < sizeof(priorities) / sizeof(*priorities); i++) {
        int priority = 9;
        if (CALL(cuStreamCreateWithPriority, text_of("priority %d", priorities[i]), A(stream), 1,
                 (word)priorities[i]) != 0)
            continue;
        CALL(cuStreamGetPriority, text_of("made with priority %d", priorities[i]), stream, A(priority));
        VALUE("priority", priority);
        DO(cuStreamDestroy_v2, stream);
    }
    CALL(cuStreamCreateWithPriority, "flags 9", A(stream), 9, 0);
    CALL(cuStreamCreate, "NULL", 0, 0);
    CALL(cuStreamCreateWithPriority, "NULL", 0, 0, 0);
}

static void asked(void)
{
    static const struct {
        const char *what;
        word handle;
    } defaults[] = {{"stream 0", 0}, {"the legacy stream", 1}, {"the per-thread stream", 2}};
    for (size_t i = 0; i < 3; i++) {
        word stream = defaults[i].handle, context = 0, current = 0;
        unsigned flags = 9;
        int priority = 9, device = 9;
        DO(cuCtxGetCurrent, A(current));
        CALL(cuStreamGetFlags, defaults[i].what, stream, A(flags));
        VALUE("flags", flags);
        CALL(cuStreamGetPriority, defaults[i].what, stream, A(priority));
        VALUE("priority", priority);
        CALL(cuStreamGetCtx, defaults[i].what, stream, A(context));
        VALUE("the current", context == current);
        CALL(cuStreamGetId, defaults[i].what, stream, A(context));
        CALL(cuStreamGetDevice, defaults[i].what, stream, A(device));
        VALUE("device", device);
        CALL(cuStreamQuery, defaults[i].what, stream);
        CALL(cuStreamSynchronize, defaults[i].what, stream);
        CALL(cuStreamDestroy_v2, defaults[i].what, stream);
    }
    CALL(cuStreamGetFlags, "NULL", 0, 0);
    CALL(cuStreamGetPriority, "NULL", 0, 0);
    CALL(cuStreamGetCtx, "NULL", 0, 0);
    CALL(cuStreamGetId, "NULL", 0, 0);
}

static void busy(void)
{
    word stream = new_stream(1), other = new_stream(0);
    spin_function();
    spin(BUSY_NS, stream);
    CALL(cuStreamQuery, "busy", stream);
    CALL(cuStreamQuery, "another", other);
    CALL(cuStreamQuery, "stream 0 beside one that does not block", 0);
    CALL(cuStreamSynchronize, "busy", stream);
    CALL(cuStreamQuery, "idle again", stream);
    spin(BUSY_NS, other);
    CALL(cuMemsetD8Async, "in stream 0 behind a blocking stream", 0, 0, 0, 0);
    CALL(cuStreamQuery, "stream 0 behind a blocking stream", 0);
    CALL(cuStreamQuery, "not blocking, beside both", stream);
    CALL(cuCtxSynchronize, "both busy");
    calls = 0;
    CALL(cuLaunchHostFunc, "", stream, P(count), 0);
    CALL(cuLaunchHostFunc, "function NULL", stream, 0, 0);
    CALL(cuStreamSynchronize, "after a host function", stream);
    VALUE("calls", calls);
    CALL(cuStreamAddCallback, "", stream, P(count_call), 0, 0);
    CALL(cuStreamAddCallback, "flags 1", stream, P(count_call), 0, 1);
    CALL(cuStreamAddCallback, "function NULL", stream, 0, 0, 0);
    CALL(cuStreamSynchronize, "after a callback", stream);
    VALUE("calls", calls);
    spin(BUSY_NS, stream);
    CALL(cuStreamDestroy_v2, "busy", stream);
    CALL(cuCtxSynchronize, "after a busy stream is destroyed");
}

static void memory_operations(void)
{
    word stream = new_stream(1), memory = 0;
    uint64_t value = 0;
    DO(cuMemAlloc_v2, A(memory), 4096);
    DO(cuMemsetD8_v2, memory, 0, 4096);
    CALL(cuStreamWriteValue32_v2, "", stream, memory, 7, 0);
    CALL(cuStreamWaitValue32_v2, "equal", stream, memory, 7, 1);
    CALL(cuStreamWaitValue32_v2, "at least", stream, memory, 7, 0);
    CALL(cuStreamWaitValue32_v2, "and", stream, memory, 1, 2);
    CALL(cuStreamWaitValue32_v2, "nor", stream, memory, 8, 3);
    CALL(cuStreamWriteValue64_v2, "", stream, memory + 8, 1ull << 40, 0);
    CALL(cuStreamWaitValue64_v2, "equal", stream, memory + 8, 1ull << 40, 1);
    CALL(cuStreamSynchronize, "after these", stream);
    CALL(cuMemcpyDtoH_v2, "what was written", A(value), memory + 8, 8);
    VALUE("value", value);
    CALL(cuStreamWriteValue32_v2, "misaligned", stream, memory + 1, 7, 0);
    CALL(cuStreamWriteValue64_v2, "misaligned", stream, memory + 4, 7, 0);
    CALL(cuStreamWriteValue32_v2, "to 0", stream, 0, 7, 0);
    CALL(cuStreamWriteValue32_v2, "no barrier", stream, memory, 7, 1);
    CALL(cuStreamWriteValue32_v2, "flags 0x100", stream, memory, 7, 0x100);
    CALL(cuStreamWaitValue32_v2, "flags 0x100", stream, memory, 7, 0x100);
    CALL(cuStreamWaitValue32_v2, "of 0", stream, 0, 7, 1);
    struct memory_operation both[2] = {{.operation = 2, .address = memory, .value = 9},
                                       {.operation = 1, .address = memory, .value = 9, .flags = 1}};
    CALL(cuStreamBatchMemOp_v2, "two", stream, 2, P(both), 0);
    CALL(cuStreamBatchMemOp_v2, "none", stream, 0, P(both), 0);
    CALL(cuStreamBatchMemOp_v2, "NULL", stream, 2, 0, 0);
    CALL(cuStreamBatchMemOp_v2, "flags 1", stream, 2, P(both), 1);
    static struct memory_operation many[257];
    for (int i = 0; i < 257; i++)
        many[i] = both[0];
    CALL(cuStreamBatchMemOp_v2, "256", stream, 256, P(many), 0);
    CALL(cuStreamBatchMemOp_v2, "257", stream, 257, P(many), 0);
    both[0].operation = 99;
    CALL(cuStreamBatchMemOp_v2, "operation 99", stream, 2, P(both), 0);
    CALL(cuStreamSynchronize, "after those", stream);
}

static void attributes(void)
{
    word stream = new_stream(1), second = new_stream(1);
    for (unsigned i = 0; i <= 10; i++) {
        uint64_t value[8] = {0};
        CALL(cuStreamGetAttribute, text_of("%u", i), stream, i, P(value));
        if (i == 3 || i == 8 || i == 10)
            VALUE("value", (int)value[0]);
    }
    uint64_t policy[8] = {2};
    CALL(cuStreamSetAttribute, "3 to 2", stream, 3, P(policy));
    CALL(cuStreamGetAttribute, "3 after 2", stream, 3, P(policy));
    VALUE("value", (int)policy[0]);
    CALL(cuStreamSetAttribute, "3 to 99", stream, 3, P(((uint64_t[8]){99})));
    CALL(cuStreamSetAttribute, "99", stream, 99, P(policy));
    CALL(cuStreamSetAttribute, "3 from NULL", stream, 3, 0);
    CALL(cuStreamGetAttribute, "3 into NULL", stream, 3, 0);
    CALL(cuStreamCopyAttributes, "", second, stream);
}

void record_stream(void)
{
    made();
    asked();
    busy();
    memory_operations();
    attributes();
}
