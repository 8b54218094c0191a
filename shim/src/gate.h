/* gate.h -- where a launch waits until its tenant may use the device again.
 *
 * The launch prepays, and goes on when what the tenant had spent before lies below the allowance as of the last
 * look and the process has not too much in flight: two atomic additions, no clock.  Otherwise it takes its payment
 * back and goes the slow way, which looks at the clock, reads markers, and sleeps. */
#ifndef GS_GATE_H
#define GS_GATE_H

#include "meter.h"

static inline void gs_gate_prepay(struct gs_meter_device *device, int64_t cost_ns)
{
    __atomic_add_fetch(&device->in_flight_ns, cost_ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(device->spent_ns, cost_ns, __ATOMIC_RELAXED);
}

static inline void gs_gate_refund(struct gs_meter_device *device, int64_t cost_ns)
{
    gs_gate_prepay(device, -cost_ns);
}

/* True: prepaid, go on. */
static inline bool gs_gate_try(struct gs_meter_device *device, int64_t cost_ns)
{
    int64_t in_flight = __atomic_add_fetch(&device->in_flight_ns, cost_ns, __ATOMIC_RELAXED);
    int64_t spent = __atomic_fetch_add(device->spent_ns, cost_ns, __ATOMIC_RELAXED);

    if (__builtin_expect(spent < __atomic_load_n(&device->open_until_ns, __ATOMIC_RELAXED) &&
                             in_flight <= device->in_flight_cap_ns &&
                             __atomic_load_n(&device->limits->line_seq, __ATOMIC_RELAXED) == device->line_seq,
                         1))
        return true;
    gs_gate_refund(device, cost_ns);
    return false;
}

/* Waits as long as it takes, and prepays.  Called in the launching thread, which holds nothing. */
void gs_gate_pass(struct gs_meter_device *device, int64_t cost_ns);

/* Takes over the allowance, and the limits that came with it, as they are now; returns what is available. */
int64_t gs_gate_look(struct gs_meter_device *device, struct gs_line *line, uint64_t now_ns);

#endif
