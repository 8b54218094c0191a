/* gate.h -- where a launch waits until its tenant may use the device again, and prepays. */
#ifndef GS_GATE_H
#define GS_GATE_H

#include "meter.h"

/* Prepays for `need_ns` at least, and for up to `want_ns` where there is enough, after as long a wait as it takes.
 * Returns what has been prepaid.  Called in the launching thread, which holds nothing. */
int64_t gs_gate_pass(struct gs_meter_device *device, int64_t need_ns, int64_t want_ns);

/* The guess for work that has not been measured yet: twice what has lately been usual here.  At first, and `again` where
 * some of the same work is on its way, so much that few of them fit into what may be in flight: behind what takes a
 * microsecond, a second's worth of long kernels would. */
int64_t gs_gate_unknown_ns(const struct gs_meter_device *device, bool again);

/* How much work goes between two markers. */
int64_t gs_gate_window_ns(const struct gs_meter_device *device);

static inline void gs_gate_prepay(struct gs_meter_device *device, int64_t ns)
{
    __atomic_add_fetch(&device->in_flight_ns, ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(device->spent_ns, ns, __ATOMIC_RELAXED);
}

static inline void gs_gate_refund(struct gs_meter_device *device, int64_t ns)
{
    gs_gate_prepay(device, -ns);
}

#endif
