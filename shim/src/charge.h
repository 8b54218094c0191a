/* charge.h -- what a window between two markers cost: pure functions, time is an argument.
 *
 * The GPU gives the time between two events of a stream.  It holds more than our own kernels when other contexts
 * had slices meanwhile, when the stream ran dry, or when another stream of ours ran at the same time.  Three steps
 * take these out: gs_own_ns (foreign slices), gs_without_gaps (idle), gs_union_add (other streams). */
#ifndef GS_CHARGE_H
#define GS_CHARGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define GS_MILLI 1000u

/* -------- foreign slices --------
 *
 * Contexts are time-sliced round robin, so foreign time enters a window in whole rounds: with n busy contexts one
 * interruption costs round(n) = (n - 1) slices + n switches.  Elapsed = own + m * round, and own lies within one
 * slice of m slices, so m can be read off the elapsed time alone.  Windows known to be much shorter than a slice are
 * interrupted once or not at all, and each of them that was measures round(n). */

#define GS_SLICE_NS   1024000u /* what the driver sets by default */
#define GS_SWITCH_NS  50000u
#define GS_MAX_ROUNDS 16u /* contexts; more are treated as this many */

struct gs_slices {
    uint64_t round_ns[GS_MAX_ROUNDS + 1]; /* by number of busy contexts */
};

static inline void gs_slices_init(struct gs_slices *slices)
{
    for (uint64_t n = 0; n <= GS_MAX_ROUNDS; n++)
        slices->round_ns[n] = n < 2 ? 0 : (n - 1) * GS_SLICE_NS + n * GS_SWITCH_NS;
}

/* A stream's longest recent window: decays, so that it follows a program that changes. */
static inline void gs_longest_learn(uint64_t *longest_ns, uint64_t own_ns)
{
    uint64_t faded = *longest_ns - *longest_ns / 128;

    *longest_ns = own_ns > faded ? own_ns : faded;
}

/* One window, as its markers and the neighbours' busy words show it. */
struct gs_seen {
    uint64_t elapsed_ns;
    uint64_t learnt_ns;  /* what its kernels are known to take */
    uint64_t longest_ns; /* of the stream's windows */
    uint64_t others_ns;  /* GPU time that other tenants published meanwhile */
    uint32_t busy_milli; /* mean number of busy contexts, ours included, in thousandths */
};

/* That number as a whole one, where there is more than one. */
static inline uint64_t gs_contexts(uint32_t busy_milli)
{
    uint64_t n = ((uint64_t)busy_milli + GS_MILLI / 2) / GS_MILLI;

    return n < 2 ? 2 : n > GS_MAX_ROUNDS ? GS_MAX_ROUNDS : n;
}

/* How long, of a window, others were busy: it is their mean number that is known. */
static inline uint64_t gs_contended_ns(const struct gs_seen *seen, uint64_t n)
{
    uint64_t others_milli = seen->busy_milli - GS_MILLI, most_milli = (n - 1) * GS_MILLI;

    return others_milli + 50 >= most_milli ? seen->elapsed_ns : seen->elapsed_ns / most_milli * others_milli;
}

/* The part of a window that was our own. */
static inline uint64_t gs_own_ns(struct gs_slices *slices, const struct gs_seen *seen)
{
    uint64_t elapsed = seen->elapsed_ns;

    if (seen->busy_milli <= GS_MILLI + 50)
        return elapsed;
    uint64_t n = gs_contexts(seen->busy_milli);
    uint64_t *round = &slices->round_ns[n];
    uint64_t beyond = elapsed > seen->learnt_ns ? elapsed - seen->learnt_ns : 0;
    uint64_t rounds;

    if (seen->longest_ns != 0 && seen->longest_ns * (n - 1) * 5 < *round * 2) {
        rounds = elapsed * 10 > seen->longest_ns * 13 && beyond > *round / 4;
        if (rounds == 1 && seen->busy_milli + 100 > n * GS_MILLI && seen->busy_milli < n * GS_MILLI + 100)
            *round += (uint64_t)(((int64_t)beyond - (int64_t)*round) / 32);
    } else {
        uint64_t switches = n * GS_SWITCH_NS;
        uint64_t period = *round + (*round > switches ? *round - switches : 0) / (n - 1);
        uint64_t contended = gs_contended_ns(seen, n);
        rounds = (contended + period / 2) / period;
    }
    if (rounds == 0) {
        /* Light tenants use parts of a slice: what they say they had, and the two switches, are not ours. */
        if (seen->others_ns == 0 || beyond < 2 * GS_SWITCH_NS)
            return elapsed;
        uint64_t theirs = seen->others_ns + 2 * GS_SWITCH_NS;
        return elapsed - (theirs < beyond ? theirs : beyond);
    }
    return elapsed > rounds * *round ? elapsed - rounds * *round : 0;
}

/* The same for a window that begins behind a copy over the bus.  Its start marker was stamped by the copy's engine, so
 * that what follows has waited for the context's turn, too, for any part of a round.  Whoever is ready to run gets one
 * slice of a round at least; beyond that the learnt cost decides. */
static inline uint64_t gs_own_behind_copy_ns(const struct gs_slices *slices, const struct gs_seen *seen)
{
    uint64_t n = gs_contexts(seen->busy_milli), round = slices->round_ns[n], elapsed = seen->elapsed_ns;
    uint64_t least = elapsed > round ? (elapsed - round) / n : 0;

    if (seen->busy_milli <= GS_MILLI + 50 || seen->learnt_ns > elapsed)
        return elapsed;
    return seen->learnt_ns < least ? least : seen->learnt_ns;
}

/* Work that began `elapsed_ns` ago and still runs: what the others say they had is not ours, but whoever is ready to
 * run gets one slice of a round at least. */
static inline uint64_t gs_running_own_ns(uint64_t elapsed_ns, uint64_t others_ns, uint32_t busy_milli)
{
    uint64_t least = elapsed_ns * GS_MILLI / (busy_milli > GS_MILLI ? busy_milli : GS_MILLI);
    uint64_t rest = elapsed_ns > others_ns ? elapsed_ns - others_ns : 0;

    return rest > least ? rest : least;
}

/* -------- idle -------- */

/* A stream cannot have run dry after the host queued the window's last kernel, so of `elapsed_ns` at most the
 * `submit_ns` that the host took to queue the window can be idle.  Within these bounds the learnt cost decides. */
static inline uint64_t gs_without_gaps(uint64_t own_ns, uint64_t submit_ns, uint64_t learnt_ns)
{
    uint64_t least = own_ns > submit_ns ? own_ns - submit_ns : 0;

    return learnt_ns < least ? least : learnt_ns > own_ns ? own_ns : learnt_ns;
}

/* -------- several streams -------- */

#define GS_MAX_SPANS 16

/* Times of a context's GPU clock already charged: disjoint, in order; the oldest are forgotten. */
struct gs_union {
    uint32_t count;
    struct {
        int64_t from_ns, to_ns;
    } span[GS_MAX_SPANS];
};

/* Adds [from, to) and returns how much of it was new. */
static inline uint64_t gs_union_add(struct gs_union *all, int64_t from_ns, int64_t to_ns)
{
    uint64_t covered = 0;
    uint32_t first = 0, last;
    int64_t from = from_ns, to = to_ns;

    if (to_ns <= from_ns)
        return 0;
    while (first < all->count && all->span[first].to_ns < from_ns)
        first++;
    for (last = first; last < all->count && all->span[last].from_ns <= to_ns; last++) {
        int64_t low = all->span[last].from_ns, high = all->span[last].to_ns;
        covered += (uint64_t)((high < to_ns ? high : to_ns) - (low > from_ns ? low : from_ns));
        from = low < from ? low : from;
        to = high > to ? high : to;
    }
    if (last == first && all->count == GS_MAX_SPANS) {
        if (first == 0) /* older than all we remember: count it whole, and do not remember it */
            return (uint64_t)(to_ns - from_ns);
        memmove(&all->span[0], &all->span[1], (first - 1) * sizeof(all->span[0]));
        first--;
        last = first + 1;
    } else {
        memmove(&all->span[first + 1], &all->span[last], (all->count - last) * sizeof(all->span[0]));
        all->count = all->count - (last - first) + 1;
    }
    all->span[first].from_ns = from;
    all->span[first].to_ns = to;
    return (uint64_t)(to_ns - from_ns) - covered;
}

/* -------- how many contexts were busy -------- */

#define GS_HISTORY 64 /* a power of two */

/* Looks at the neighbours' busy words, taken whenever a marker is set or read. */
struct gs_history {
    uint32_t count;
    struct gs_look {
        uint64_t at_ns;
        uint32_t busy;      /* contexts, ours included */
        uint64_t others_ns; /* GPU time published so far by the other tenants */
    } look[GS_HISTORY];
};

static inline void gs_history_add(struct gs_history *history, uint64_t now_ns, uint32_t busy,
                                  uint64_t others_ns)
{
    history->look[history->count++ % GS_HISTORY] = (struct gs_look){now_ns, busy, others_ns};
}

/* Mean of busy contexts over [from, to), in thousandths; a look holds until the next one. */
static inline uint32_t gs_history_busy(const struct gs_history *history, uint64_t from_ns, uint64_t to_ns,
                                       uint64_t *others_ns)
{
    uint32_t oldest = history->count > GS_HISTORY ? history->count - GS_HISTORY : 0;
    uint64_t until = to_ns, sum = 0, others_end = 0, others_start = 0;

    *others_ns = 0;
    if (history->count == 0)
        return GS_MILLI;
    if (to_ns <= from_ns)
        until = to_ns = from_ns + 1;
    bool ended = false;
    for (uint32_t i = history->count; i-- > oldest;) {
        const struct gs_look *look = &history->look[i % GS_HISTORY];
        if (!ended && look->at_ns <= to_ns) {
            others_end = look->others_ns;
            ended = true;
        }
        others_start = look->others_ns;
        if (look->at_ns >= until && i > oldest)
            continue;
        uint64_t since = look->at_ns > from_ns && i > oldest ? look->at_ns : from_ns;
        sum += (until - since) * look->busy;
        until = since;
        if (since == from_ns)
            break;
    }
    *others_ns = others_end > others_start ? others_end - others_start : 0;
    return (uint32_t)(sum * GS_MILLI / (to_ns - from_ns));
}

#endif
