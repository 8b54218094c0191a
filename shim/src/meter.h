/* meter.h -- GPU time of this process, measured by markers (timing events) between which its work lies.
 *
 * Every launch prepays what it is expected to take.  A *window* is the work between two markers of one stream; when
 * its end marker is through, the prepayment is replaced by what charge.h makes of the measured time.  Markers are
 * set every few hundred microseconds of work, by the launching threads themselves, and read by whoever comes by.
 *
 * One thread at a time works on a context's windows; others do not wait for it but pass on, because a driver call
 * made while holding a lock could wait for GPU work that waits for one of them. */
#ifndef GS_METER_H
#define GS_METER_H

#include <stdbool.h>

#include "bucket.h"
#include "charge.h"
#include "cost.h"
#include "hooks.h"
#include "region.h"

#define GS_WINDOWS      32u       /* closed and not through yet, per stream */
#define GS_WINDOW_NS    10000000u /* of work, while alone on the device */
#define GS_FIRST_TRUST  4         /* launches in a window, at first and after a surprise */
#define GS_MOST_TRUST   128       /* and once windows take what was expected */
#define GS_SPARE_EVENTS 64u       /* kept per context */
#define GS_NOT_PLACED   INT64_MIN

/* One device of the limits, as this process uses it. */
struct gs_meter_device {
    const struct gs_device_limits *limits; /* NULL: not in use */
    const struct gs_region *region;
    uint32_t index;
    int64_t *spent_ns;       /* the tenant's token bucket */
    int64_t in_flight_ns;    /* prepaid, not measured yet */
    int64_t ahead_ns;        /* published, and not measured yet */
    int64_t usual_ns;        /* what a launch has taken lately; 0: nothing has been measured */
    bool closed;             /* the gate, until resume_ns is available */
    bool awaited;            /* others may want it at any moment, and then at once */
    bool leaving;            /* what is in flight is the last of our turn */
    bool searching;          /* for how long slices are: looks are to be near to each other */
    uint64_t apart_until_ns; /* it does not wait for the tenant's other devices */
    uint64_t through_ns;     /* host time of the newest window's end, or since when something is in flight */
    uint32_t busy;           /* contexts on the device, at the last look */
    struct gs_slices slices;
    struct gs_loss loss;
    uint32_t waiting;    /* host threads inside the driver's own waits */
    struct gs_line line; /* the last good one */
    bool line_taken;     /* somebody is writing it */
};

struct gs_window {
    CUevent start; /* NULL: the end of the window before */
    CUevent end;
    uint64_t learnt_ns;
    uint64_t opened_ns, closed_ns; /* host time of its two markers */
    struct gs_cost *cost;          /* of its first launch */
    uint32_t launches;
    bool contiguous; /* what was before it was not through when it closed: the stream cannot have run dry */
};

/* One stream of a context.  Its open window has prepaid for some work: a launch takes its learnt cost from the
 * credit and itself from the launches left, and while both stay above zero, nothing else has to be done. */
struct gs_stream {
    int64_t credit_ns;
    CUstream handle; /* NULL: none */
    int32_t
        launches_left; /* of the open window, before it has to be measured whatever they were thought to take */
    int32_t launches_most;     /* what launches_left began with; 0: no window is open */
    int32_t trust;             /* the same for the next window: grows while windows take what was expected */
    bool idle;                 /* nothing is in flight: the next launch needs a start marker */
    bool apart;                /* so does it behind something that is none of the GPU's work */
    struct gs_cost *open_cost; /* of the launch that began the open window */
    int64_t margin_ns;         /* prepaid beyond the credit, for the last launch of the window */
    int64_t granted_ns;        /* prepaid in all */
    struct gs_meter_device *device;

    bool gappy;              /* the newest window that was read said little */
    struct gs_thread *owner; /* whose per-thread default stream it is; NULL: everybody's */
    struct gs_meter_context *context;
    struct gs_stream *next;        /* of the same context */
    struct gs_stream *next_bucket; /* of the same hash */

    CUevent own_start;   /* of the open window, unless it begins where the one before ends */
    CUevent start;       /* the marker before the oldest window that is not through; NULL: unknown */
    int64_t start_at_ns; /* on the context's GPU clock; GS_NOT_PLACED until somebody asks */
    uint64_t marked_ns;  /* host time of the newest marker */
    uint64_t through_ns; /* host time at which the newest window that was read had ended */
    uint64_t used_ns;    /* by the oldest window that is not through, until seen_ns, by the clock */
    uint64_t seen_ns;
    struct gs_phase phase;
    uint32_t guesses;    /* windows in a row of which nothing was measured */
    uint32_t head, tail; /* closed windows: [head, tail) modulo GS_WINDOWS */
    struct gs_window window[GS_WINDOWS];
};

/* What pulse.c sends, and what it has seen of the present round. */
struct gs_pulse {
    CUstream stream;
    CUevent event; /* on its way; NULL: none */
    uint32_t sent;
    uint64_t sent_ns, stamped_ns; /* host time: the newest one, and the newest that was */
    uint64_t pause_until_ns;
    uint32_t contexts;   /* busy ones all the time; 0: there are light ones, who come and go */
    bool begun;          /* a slice of ours, at a known time, and there has been work since */
    int64_t begun_at_ns; /* on the context's GPU clock */
    uint64_t ours_ns;    /* of it, at least */
};

/* A context's streams, events and charged times. */
struct gs_meter_context {
    CUcontext handle; /* NULL: free for another one */
    struct gs_meter_device *device;
    struct gs_meter_context *next;
    struct gs_stream *streams;
    bool taken; /* somebody works on what follows, and on the streams' windows */
    uint32_t spare_count;
    CUevent spare[GS_SPARE_EVENTS];
    CUevent anchor; /* origin of its GPU clock, renewed now and then: event times are 32-bit floats */
    int64_t anchor_at_ns;
    int64_t host_offset_ns; /* host clock less GPU clock: the least seen, creeping up */
    uint64_t shown_ns;      /* published of what still runs, by the clock */
    uint64_t running_ns;    /* charged of it, beyond what was prepaid */
    struct gs_union charged;
    struct gs_history history;
    uint64_t session_ns;        /* own time since it had run dry */
    bool session_whole;         /* without an interruption */
    uint32_t lightness;         /* how many of the latest sessions were shorter than a slice */
    uint64_t lights_ns;         /* what light neighbours have said in all, at the last look */
    uint64_t lights_seen_ns;    /* at the window before */
    uint64_t lights_seen_at_ns; /* which ended then */
    uint64_t lights_left_ns;    /* not taken off any window yet */
    struct gs_pulse pulse;
};

#define GS_LIGHT_MOST 16u

static inline bool gs_is_light(const struct gs_meter_context *context)
{
    return context->lightness > GS_LIGHT_MOST / 2;
}

uint64_t gs_now(void);

/* How long what is in flight should take from now on, if nobody else runs. */
static inline uint64_t gs_remaining_ns(const struct gs_meter_device *device, uint64_t now_ns)
{
    int64_t in_flight = __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
    int64_t since = (int64_t)(now_ns - __atomic_load_n(&device->through_ns, __ATOMIC_RELAXED));

    return in_flight <= 0      ? 0
           : since <= 0        ? (uint64_t)in_flight
           : in_flight > since ? (uint64_t)(in_flight - since)
                               : 0;
}

/* -------- windows (meter.c) -------- */

/* Before a launch that is to be measured on its own, or that finds nothing in flight: ends the open window in the
 * first case, and sets a start marker in the second. */
void gs_meter_begin(struct gs_stream *stream, bool alone);

/* Ends the open window, if any, and reads the markers that are through. */
void gs_meter_mark(struct gs_stream *stream);

/* The open window, if nothing has been launched in it, never was. */
void gs_meter_cancel(struct gs_stream *stream);

/* Before something that takes no GPU time and that the stream waits for: ends the open window, and the next one has a
 * start marker of its own. */
void gs_meter_apart(struct gs_stream *stream);

/* As gs_meter_mark, for all streams of a device.  Returns the number of launches still in flight, as far as anything is
 * known to tell when they end. */
uint32_t gs_meter_settle(struct gs_meter_device *device);

/* The open window will never be measured: what it has used stands, and the rest of its prepayment is given back. */
void gs_meter_give_up(struct gs_stream *stream);

/* The driver says that all work of the context has ended. */
void gs_meter_all_done(struct gs_meter_context *context);

/* The context is gone, or as good as: forgets its streams and events without touching them. */
void gs_meter_abandon(struct gs_meter_context *context);

/* True while the stream records instead of running: nothing of ours may touch it then. */
bool gs_meter_capturing(CUstream handle);

/* How many captures this process has begun and not ended, at least; above 0, streams are asked, and no launch takes
 * the short way, which does not ask: credit then goes to the margin. */
extern uint32_t gs_captures;

/* Before the driver begins one, so that nobody finds none while there is one. */
void gs_meter_capture_begins(void);

/* -------- what a window was worth (measure.c) -------- */

/* Between two events that are through, whose times are milliseconds in 32-bit floats.  False: nobody knows. */
bool gs_elapsed(CUevent from, CUevent to, int64_t *elapsed_ns);

/* Our own part of a window, with the context taken, and `elapsed_ns` behind the stream's start marker. */
uint64_t gs_measure(struct gs_meter_context *context, struct gs_stream *stream,
                    const struct gs_window *window, int64_t elapsed_ns, uint64_t now_ns);

/* -------- when slices of ours begin (pulse.c) -------- */

/* With the context taken, and all read that was through: looks at the event that is on its way, and sends another one. */
void gs_pulse(struct gs_meter_context *context, uint64_t now_ns);

/* -------- what still runs (running.c) -------- */

/* With the context taken: charges by the clock what is in flight for longer than it has prepaid.  Whoever comes by
 * does so; the end marker puts right what was guessed.  `asked`: the driver has just said of each stream's oldest window
 * that it is not through. */
void gs_running_charge(struct gs_meter_context *context, uint64_t now_ns, bool asked);

/* A window is through and took `own_ns`: replaces its prepayment, and what was charged by the clock. */
void gs_charge(struct gs_meter_context *context, struct gs_meter_device *device, uint64_t learnt_ns,
               uint64_t own_ns, uint32_t launches);

/* The helper thread comes by, which calls no driver function. */
void gs_running_tick(struct gs_meter_device *device, uint64_t now_ns);

/* -------- neighbours (busy.c) -------- */

/* Notes who is busy now, and publishes that we are, for as long as what is in flight should take. */
void gs_busy_look(struct gs_meter_context *context, uint64_t now_ns);

/* Until when a tenant says that it is busy on a device; the past: it is not. */
uint64_t gs_busy_until(const struct gs_device_activity *words);

/* Publishes that nothing of ours is in flight. */
void gs_busy_drop(struct gs_meter_device *device);

/* A host thread goes into, and comes back from, a wait inside the driver: work is in flight all the time. */
void gs_busy_wait_begin(struct gs_meter_device *device);
void gs_busy_wait_end(struct gs_meter_device *device);

void gs_busy_forget(void); /* in a fork's child */

/* -------- contexts and streams (stream.c) -------- */

struct gs_thread {
    const uint32_t *cap_ppm;  /* of the current context's device */
    struct gs_stream *stream; /* the one launched into last; never NULL */
    struct gs_meter_context *context;
};

extern __thread struct gs_thread gs_thread __attribute__((tls_model("initial-exec"))) GS_INTERNAL;

/* In a fork's child: CUDA does not work there until it is begun anew. */
void gs_meter_forget(void);

/* The calling thread's current context may have changed: it is looked up again at the next launch. */
void gs_meter_rebind(void);

/* A context is about to be destroyed or reset, or just has been: its streams and events go with it.  Calls no
 * driver function. */
void gs_meter_context_gone(CUcontext handle);

/* Before a stream is destroyed: its handle may come back for another one. */
void gs_meter_stream_gone(CUstream handle);

/* What the calling thread's work counts for; NULL: nothing is metered. */
struct gs_meter_context *gs_meter_current(void);

/* All contexts there ever were; a free one has no handle. */
extern struct gs_meter_context *gs_meter_contexts;

CUevent gs_event_take(struct gs_meter_context *context);
void gs_event_give(struct gs_meter_context *context, CUevent event);

/* The stream of a handle, or NULL: not metered. */
struct gs_stream *gs_stream_find(CUstream handle);

/* The same for one that something has been launched into; NULL: nothing has. */
struct gs_stream *gs_stream_known(CUstream handle);

#endif
