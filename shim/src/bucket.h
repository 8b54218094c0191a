/* bucket.h -- the token bucket that holds a tenant's share: pure functions, time is an argument.
 *
 * What a tenant has used of a device is one word, gs_device_usage.spent_ns, that only ever changes by fetch-add
 * (charges, refunds) and by one compare-and-swap (the idle clamp).  What it may have used by now is a line that
 * the controller publishes.  The gate is open while spent < allowance; nobody refills anything, so a controller
 * that is dead or late changes nothing. */
#ifndef GS_BUCKET_H
#define GS_BUCKET_H

#include <stdbool.h>

#include "abi.h"

#define GS_FOREVER_NS UINT64_MAX

/* A consistent copy of the controller's line. */
struct gs_line {
    uint64_t t0_ns;
    int64_t allowance_ns;
    uint64_t burst_ns;
    uint64_t resume_ns;
    uint64_t in_flight_ns;
    uint64_t lease_until_ns; /* of the rate; 0: for good */
    uint32_t rate_ppm;
    uint32_t guarantee_ppm; /* the rate after the lease */
    uint32_t seq;           /* which version of the line this is */
};

/* False while the controller is writing; the caller keeps what it had and looks again later, because a
 * controller killed in the middle of a write would make a retry loop endless. */
static inline bool gs_line_read(const struct gs_device_limits *limits, struct gs_line *line)
{
    uint32_t seq = __atomic_load_n(&limits->line_seq, __ATOMIC_ACQUIRE);
    struct gs_line copy = {
        .t0_ns = __atomic_load_n(&limits->t0_ns, __ATOMIC_RELAXED),
        .allowance_ns = __atomic_load_n(&limits->allowance_ns, __ATOMIC_RELAXED),
        .burst_ns = __atomic_load_n(&limits->burst_ns, __ATOMIC_RELAXED),
        .resume_ns = __atomic_load_n(&limits->resume_ns, __ATOMIC_RELAXED),
        .in_flight_ns = __atomic_load_n(&limits->in_flight_ns, __ATOMIC_RELAXED),
        .lease_until_ns = __atomic_load_n(&limits->lease_until_ns, __ATOMIC_RELAXED),
        .rate_ppm = __atomic_load_n(&limits->rate_ppm, __ATOMIC_RELAXED),
        .guarantee_ppm = __atomic_load_n(&limits->guarantee_ppm, __ATOMIC_RELAXED),
        .seq = seq,
    };

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((seq & 1) != 0 || __atomic_load_n(&limits->line_seq, __ATOMIC_RELAXED) != seq)
        return false;
    if (copy.resume_ns > copy.burst_ns)
        copy.resume_ns = copy.burst_ns; /* else a closed gate could wait for more than can ever be saved */
    *line = copy;
    return true;
}

/* The part of `ns` that a rate gives, in two parts: no overflow for centuries. */
static inline int64_t gs_part_of(uint64_t ns, uint32_t rate_ppm)
{
    return (int64_t)(ns / GS_FULL_PPM * rate_ppm + ns % GS_FULL_PPM * rate_ppm / GS_FULL_PPM);
}

/* GPU nanoseconds that the tenant may have used by `now_ns`. */
static inline int64_t gs_line_at(const struct gs_line *line, uint64_t now_ns)
{
    uint64_t end = line->lease_until_ns != 0 && line->lease_until_ns < now_ns ? line->lease_until_ns : now_ns;
    uint64_t leased = end > line->t0_ns ? end - line->t0_ns : 0;
    uint64_t since = now_ns > line->t0_ns ? now_ns - line->t0_ns - leased : 0;

    return line->allowance_ns + gs_part_of(leased, line->rate_ppm) + gs_part_of(since, line->guarantee_ppm);
}

/* An idle tenant saves no more than `burst_ns`.  One attempt: if another process charges meanwhile, the next
 * look clamps.  Returns what is available, negative in debt. */
static inline int64_t gs_bucket_look(int64_t *spent_ns, const struct gs_line *line, uint64_t now_ns)
{
    int64_t allowance = gs_line_at(line, now_ns);
    int64_t spent = __atomic_load_n(spent_ns, __ATOMIC_RELAXED);
    int64_t floor = allowance - (int64_t)line->burst_ns;

    if (spent < floor &&
        __atomic_compare_exchange_n(spent_ns, &spent, floor, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        spent = floor;
    return allowance - spent;
}

/* Hysteresis: a gate that closed stays closed until there is enough for a run of work, so that contexts do not
 * take turns kernel by kernel.  A run ends before work that would leave more debt than there was too little of. */
static inline bool gs_bucket_open(const struct gs_line *line, int64_t available_ns, int64_t need_ns,
                                  bool was_closed)
{
    int64_t resume_ns = (int64_t)line->resume_ns;

    return available_ns > 0 && (available_ns >= resume_ns || (!was_closed && available_ns >= need_ns / 2));
}

/* How long the clock alone takes to open a closed gate again, if not longer: a lease may end meanwhile. */
static inline uint64_t gs_bucket_wait_ns(const struct gs_line *line, int64_t available_ns)
{
    int64_t missing = (line->resume_ns > 0 ? (int64_t)line->resume_ns : 1) - available_ns;
    bool leased = line->lease_until_ns != 0 && line->guarantee_ppm > line->rate_ppm;
    uint32_t rate_ppm = leased ? line->guarantee_ppm : line->rate_ppm;

    if (missing <= 0)
        return 0;
    if (rate_ppm == 0)
        return GS_FOREVER_NS;
    return (uint64_t)missing / rate_ppm * GS_FULL_PPM +
           ((uint64_t)missing % rate_ppm * GS_FULL_PPM + rate_ppm - 1) / rate_ppm;
}

#endif
