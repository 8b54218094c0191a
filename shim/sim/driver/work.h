/* work.h -- the work of streams: what it is, and how it is submitted or captured. */
#ifndef SIM_WORK_H
#define SIM_WORK_H

#include "cuda_types.h"

#include <stdbool.h>

struct sim_context;
struct sim_event;
struct sim_function;
struct sim_stream;

enum sim_work_kind {
    SIM_WORK_KERNEL,
    SIM_WORK_COPY,
    SIM_WORK_FILL,
    SIM_WORK_HOST,
    SIM_WORK_RECORD,
    SIM_WORK_WAIT,
    SIM_WORK_WRITE_VALUE,
    SIM_WORK_WAIT_VALUE,
    SIM_WORK_MIGRATE, /* managed memory on its way between host and device: only time */
    SIM_WORK_EMPTY,   /* only its place in the stream */
};

struct sim_launch {
    struct sim_function *function;
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    uint32_t cooperative;
    void **params; /* as given by the caller, valid during the call only; capture copies what they point to */
    void **extra;
    uint32_t cluster[3]; /* blocks; 0: none asked for */
    int32_t priority;    /* where own_priority; else the stream's */
    uint32_t own_priority;
    struct sim_event *begun; /* recorded when all blocks have begun, or NULL */
};

/* Rectangles of bytes, 1D being height = depth = 1. */
struct sim_copy {
    const char *source;
    char *destination;
    uint64_t width, height, depth;
    uint64_t source_pitch, source_slice;
    uint64_t destination_pitch, destination_slice;
    uint8_t source_host, destination_host; /* not device memory (managed counts as device) */
    uint8_t staged;                        /* source is a malloc'ed copy, freed afterwards */
};

struct sim_fill {
    char *destination;
    uint64_t width, height; /* in elements, rows */
    uint64_t pitch;
    uint32_t value;
    uint32_t element_bytes; /* 1, 2, 4 */
};

/* One unit of a stream's work: a value that can be kept (a graph node) and submitted many times. */
struct sim_work {
    enum sim_work_kind kind;
    uint32_t sms;
    uint64_t duration_ns; /* set by sim_work_cost() */
    uint32_t waves;       /* of a kernel's blocks, one after the other on its SMs; 0 stands for 1 */
    union {
        struct sim_launch launch;
        struct sim_copy copy;
        struct sim_fill fill;
        struct {
            CUhostFn function;
            void *argument;
        } host;
        struct {
            struct sim_event *event;
            uint64_t sequence; /* which record a WAIT waits for; set by sim_submit */
            uint32_t flags;
        } event;
        struct {
            CUdeviceptr address;
            uint64_t value;
            uint32_t flags;
            uint32_t bytes; /* 4 or 8 */
        } value;
        struct {
            uint64_t bytes;
            bool to_host;
        } migrate;
    };
};

/* Fill in duration_ns and sms from the models of launch.c and copy.c. */
void sim_work_cost(const struct sim_context *ctx, struct sim_work *work);

/* Queue it; blocks while the stream holds SIM_QUEUE_DEPTH commands.  A capturing stream records it instead
 * (sim_capture_work).  Returns the context's sticky error if it has one. */
CUresult sim_submit(struct sim_stream *stream, struct sim_work *work);
/* The same, never captured: graph launches. */
CUresult sim_submit_now(struct sim_stream *stream, struct sim_work *work);

/* capture.c: what a capturing stream does with work; false, and nothing is done, when it captures no more and the work
 * belongs to no capture.  Then a call that it may not see, which invalidates the capture. */
bool sim_capture_work(struct sim_stream *stream, const struct sim_work *work, CUresult *result);
CUresult sim_capture_forbids(struct sim_stream *stream);
/* The same for calls that name no stream and that a capture in this thread, or a global one in any, prohibits. */
CUresult sim_capture_unsafe_call(void);
/* The same for work in a context's legacy stream, which a capture in a blocking stream prohibits. */
CUresult sim_capture_legacy_use(const struct sim_context *ctx);
/* CAPTURED_EVENT, for a question about an event recorded in a capture, which is invalid from then on. */
CUresult sim_capture_event_use(struct sim_event *event);
/* The event stands for nothing captured any more. */
void sim_capture_event_forget(struct sim_event *event);
/* The stream is going away. */
void sim_capture_leave(struct sim_stream *stream);

#endif
