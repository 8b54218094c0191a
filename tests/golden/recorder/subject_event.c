/* subject_event.c -- events: flags, states, times. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <string.h>

#define MS 1000000ull

static void made(void)
{
    static const unsigned flags[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0x100};
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        word event = 0;
        if (CALL(cuEventCreate, text_of("flags %u", flags[i]), A(event), flags[i]) == 0)
            CALL(cuEventDestroy_v2, text_of("made with %u", flags[i]), event);
    }
    CALL(cuEventCreate, "NULL", 0, 0);
    CALL(cuEventDestroy_v2, "NULL", 0);
    CALL(cuEventRecord, "NULL", 0, 0);
    CALL(cuEventQuery, "NULL", 0);
    CALL(cuEventSynchronize, "NULL", 0);
    CALL(cuStreamWaitEvent, "NULL", 0, 0, 0);
}

static void states(void)
{
    word stream = new_stream(1), other = new_stream(1), event = new_event(0);
    spin_function();
    CALL(cuEventQuery, "never recorded", event);
    CALL(cuEventSynchronize, "never recorded", event);
    CALL(cuStreamWaitEvent, "never recorded", other, event, 0);
    spin(100 * MS, stream);
    CALL(cuEventRecord, "", event, stream);
    CALL(cuEventQuery, "behind a kernel", event);
    CALL(cuStreamWaitEvent, "behind a kernel", other, event, 0);
    CALL(cuStreamQuery, "waits for the event", other);
    CALL(cuStreamWaitEvent, "flags 1", other, event, 1);
    CALL(cuStreamWaitEvent, "flags 2", other, event, 2);
    CALL(cuEventSynchronize, "behind a kernel", event);
    CALL(cuEventQuery, "done", event);
    CALL(cuStreamSynchronize, "after the event", other);
    CALL(cuEventRecordWithFlags, "flags 0", event, stream, 0);
    CALL(cuEventRecordWithFlags, "flags 1", event, stream, 1);
    CALL(cuEventRecordWithFlags, "flags 9", event, stream, 9);
    CALL(cuEventRecord, "in the legacy stream", event, 1);
    CALL(cuEventRecord, "in the per-thread stream", event, 2);
    spin(20 * MS, stream);
    DO(cuEventRecord, event, stream);
    CALL(cuEventDestroy_v2, "behind a kernel", event);
    CALL(cuStreamSynchronize, "whose event is destroyed", stream);
}

static void times(void)
{
    word stream = new_stream(1), begin = new_event(0), end = new_event(0), untimed = new_event(2);
    float ms = -1;
    CALL(cuEventElapsedTime, "never recorded", A(ms), begin, end);
    DO(cuEventRecord, begin, stream);
    spin(20 * MS, stream);
    DO(cuEventRecord, end, stream);
    DO(cuEventRecord, untimed, stream);
    CALL(cuEventElapsedTime, "not done", A(ms), begin, end);
    DO(cuStreamSynchronize, stream);
    CALL(cuEventElapsedTime, "of 20 ms", A(ms), begin, end);
    VALUE("20 ms or a little more", ms >= 19.9f && ms < 200);
    CALL(cuEventElapsedTime_v2, "of 20 ms", A(ms), begin, end);
    VALUE("20 ms or a little more", ms >= 19.9f && ms < 200);
    CALL(cuEventElapsedTime, "the other way", A(ms), end, begin);
    VALUE("negative", ms < 0);
    CALL(cuEventElapsedTime, "to itself", A(ms), end, end);
    VALUE("0", ms == 0);
    CALL(cuEventElapsedTime, "without timing", A(ms), begin, untimed);
    CALL(cuEventElapsedTime, "NULL", 0, begin, end);
    CALL(cuEventElapsedTime, "of NULL", A(ms), 0, 0);
    DO(cuEventRecord, begin, stream);
    DO(cuEventRecord, end, stream);
    DO(cuStreamSynchronize, stream);
    CALL(cuEventElapsedTime, "of nothing", A(ms), begin, end);
    VALUE("next to nothing", ms >= 0 && ms < 20);
}

static void other_context(void)
{
    word primary = 0, second = 0, event = new_event(0), stream = new_stream(1);
    DO(cuCtxGetCurrent, A(primary));
    DO(cuCtxCreate_v2, A(second), 0, 0);
    word theirs = new_stream(1), event2 = new_event(0);
    float ms = 0;
    CALL(cuEventRecord, "in another context's stream", event, theirs);
    CALL(cuEventQuery, "from another context", event);
    DO(cuEventRecord, event2, theirs);
    CALL(cuStreamWaitEvent, "of another context", stream, event2, 0);
    CALL(cuStreamSynchronize, "of another context", stream);
    DO(cuEventRecord, event, stream);
    DO(cuStreamSynchronize, stream);
    CALL(cuEventElapsedTime, "of two contexts", A(ms), event, event2);
    CALL(cuStreamQuery, "of another context", stream);
    CALL(cuLaunchHostFunc, "NULL, of another context", stream, 0, 0);
    DO(cuCtxDestroy_v2, second);
    DO(cuCtxSetCurrent, primary);
}

void record_event(void)
{
    made();
    states();
    times();
    other_context();
}
