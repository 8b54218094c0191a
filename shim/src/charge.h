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
 * Contexts are time-sliced round robin.  With n of them that always have work, each has one slice in a round, and a
 * round takes n slices and n switches.  Windows that are known to be shorter than a slice are interrupted once or not
 * at all.  What was not is exact; and from one interruption to the next we had just a slice, so that what was is the
 * rest of it.  The time from one to the next is a round: that measures the slice.  Of longer windows, elapsed = own +
 * m * gap, where a gap is a round without our slice, and own lies within one slice of m slices, so that m can be read
 * off the elapsed time alone.
 *
 * Neighbours that come and go within a slice ("light") measure themselves exactly and say what they took: that is taken
 * off first. */

#define GS_SLICE_NS      1024000u /* what the driver sets by default */
#define GS_SLICE_MOST_NS 4000000u
#define GS_SWITCH_NS     50000u
#define GS_MAX_ROUNDS    256u /* contexts; more are treated as this many */
#define GS_SLICE_KNOWN   8u   /* rounds that have measured it */

struct gs_slices {
    uint64_t slice_ns;
    uint32_t samples;
    bool known; /* by ourselves, or by somebody else on the device */
};

static inline void gs_slices_init(struct gs_slices *slices)
{
    *slices = (struct gs_slices){.slice_ns = GS_SLICE_NS};
}

/* What others measured holds until we have done so ourselves. */
static inline void gs_slices_adopt(struct gs_slices *slices, uint64_t slice_ns)
{
    if (slices->samples >= GS_SLICE_KNOWN)
        return;
    slices->slice_ns = slice_ns;
    slices->known = true;
}

/* The mean, on which a round that was taken for two, or two for one, has little influence. */
static inline void gs_slices_learn(struct gs_slices *slices, uint64_t round_ns, uint64_t contexts)
{
    uint64_t slice_ns = round_ns / contexts > GS_SWITCH_NS ? round_ns / contexts - GS_SWITCH_NS : 0;
    int64_t most = (int64_t)slices->slice_ns / 2, apart = (int64_t)slice_ns - (int64_t)slices->slice_ns;
    bool is_first = slices->samples < GS_SLICE_KNOWN;

    if (slice_ns > GS_SLICE_MOST_NS)
        return;
    apart = apart > most ? most : apart < -most ? -most : apart;
    slices->slice_ns = (uint64_t)((int64_t)slices->slice_ns + apart / (is_first ? 3 : 32));
    if (is_first && ++slices->samples == GS_SLICE_KNOWN)
        slices->known = true;
}

static inline uint64_t gs_gap_ns(uint64_t slice_ns, uint64_t contexts)
{
    return (contexts - 1) * slice_ns + contexts * GS_SWITCH_NS;
}

/* How much work goes between two markers while others are there. */
static inline uint64_t gs_slices_window_ns(const struct gs_slices *slices)
{
    uint64_t part = slices->slice_ns / 5 * 2;

    return !slices->known ? 100000 : part < 60000 ? 60000 : part > 400000 ? 400000 : part;
}

/* Where a stream is in a round. */
struct gs_phase {
    uint64_t own_ns, elapsed_ns; /* since the newest interruption, or since the stream had run dry */
    uint64_t contexts;           /* busy all that time; 0: it varied */
    bool begun;                  /* with a slice */
    bool interrupted;            /* by one */
};

/* One window, as its markers and the neighbours' words show it. */
struct gs_seen {
    uint64_t elapsed_ns; /* less what light neighbours took */
    uint64_t learnt_ns;  /* what its kernels are known to take */
    uint32_t busy_milli; /* mean number of busy contexts, ours included, in thousandths */
};

struct gs_own {
    uint64_t ns;
    uint64_t rounds; /* interruptions */
    bool guessed;    /* what is known stands for what was measured */
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

static inline void gs_phase_add(struct gs_phase *phase, const struct gs_seen *seen, uint64_t own_ns)
{
    uint64_t n = ((uint64_t)seen->busy_milli + GS_MILLI / 2) / GS_MILLI;
    uint64_t apart =
        seen->busy_milli > n * GS_MILLI ? seen->busy_milli - n * GS_MILLI : n * GS_MILLI - seen->busy_milli;

    phase->contexts = apart <= GS_MILLI / 10 && (phase->elapsed_ns == 0 || phase->contexts == n) ? n : 0;
    phase->own_ns += own_ns;
    phase->elapsed_ns += seen->elapsed_ns;
}

/* A window shorter than a slice that was interrupted: what is missing of the slice that was ours in this round. */
static inline uint64_t gs_interrupted(struct gs_slices *slices, const struct gs_seen *seen,
                                      struct gs_phase *phase)
{
    uint64_t learnt = seen->learnt_ns, rest = learnt;

    if (slices->known && phase->begun && phase->own_ns <= slices->slice_ns + learnt) {
        rest = slices->slice_ns > phase->own_ns ? slices->slice_ns - phase->own_ns : 0;
        if (!phase->interrupted)
            rest += learnt / 2; /* of the next slice; the last one's will not be asked for */
        rest = rest < 2 * learnt ? rest : 2 * learnt;
    }
    gs_phase_add(phase, seen, 0);
    if (phase->interrupted && phase->contexts > 1) {
        /* Where neighbours had less than a slice, or we had, the interruption does not fit the round. */
        uint64_t round = phase->elapsed_ns, n = phase->contexts, others = round / n * (n - 1);
        uint64_t gap = seen->elapsed_ns - learnt, doubt = learnt / 4;
        if (gap + doubt > others && gap < others + others / 4 + doubt)
            gs_slices_learn(slices, round, n);
    }
    *phase = (struct gs_phase){.begun = true, .interrupted = true};
    return rest;
}

/* A window of any length.  Where as many were busy all the time, it is slices that are counted: an error in their number
 * does not grow with the number of neighbours. */
static inline struct gs_own gs_own_of_slices(const struct gs_slices *slices, const struct gs_seen *seen,
                                             struct gs_phase *phase, uint64_t n)
{
    uint64_t elapsed = seen->elapsed_ns, slice = slices->slice_ns, gap = gs_gap_ns(slice, n);
    uint64_t rounds = (gs_contended_ns(seen, n) + (slice + gap) / 2) / (slice + gap);
    struct gs_own own = {.ns = elapsed > rounds * gap ? elapsed - rounds * gap : 0, .rounds = rounds};

    if (rounds == 0) {
        gs_phase_add(phase, seen, own.ns);
        return own;
    }
    struct gs_phase before = *phase;
    gs_phase_add(phase, seen, 0);
    if (n > 2 && phase->contexts == n && before.begun && before.own_ns <= 2 * slice)
        own.ns = rounds * slice > before.own_ns ? rounds * slice - before.own_ns : 0;
    *phase = (struct gs_phase){.begun = phase->contexts == n};
    return own;
}

/* The part of a window that was our own. */
static inline struct gs_own gs_own(struct gs_slices *slices, const struct gs_seen *seen,
                                   struct gs_phase *phase)
{
    uint64_t elapsed = seen->elapsed_ns, learnt = seen->learnt_ns, slice = slices->slice_ns;
    uint64_t beyond = elapsed > learnt ? elapsed - learnt : 0;

    if (seen->busy_milli <= GS_MILLI + 50) {
        *phase = (struct gs_phase){.contexts = 1};
        return (struct gs_own){.ns = elapsed};
    }
    uint64_t n = gs_contexts(seen->busy_milli), gap = gs_gap_ns(slice, n);
    if (learnt != 0 && learnt < (slices->known ? slice / 4 * 3 : slice / 2)) {
        uint64_t least = slice / 2 + GS_SWITCH_NS, doubt = learnt / 2 + GS_SWITCH_NS;
        if (beyond < (slices->known || least < doubt ? least : doubt)) {
            gs_phase_add(phase, seen, elapsed);
            return (struct gs_own){.ns = elapsed};
        }
        if (beyond < gs_gap_ns(GS_SLICE_MOST_NS, n)) {
            uint64_t rest = gs_interrupted(slices, seen, phase);
            if (!slices->known || beyond < gap + gap / 2)
                return (struct gs_own){.ns = rest, .rounds = 1, .guessed = true};
        }
    }
    return gs_own_of_slices(slices, seen, phase, n);
}

/* The same for a window that begins behind a copy over the bus.  Its start marker was stamped by the copy's engine, so
 * that what follows has waited for the context's turn, too, for any part of a round.  Whoever is ready to run gets one
 * slice of a round at least; beyond that the learnt cost decides. */
static inline uint64_t gs_own_behind_copy_ns(const struct gs_slices *slices, const struct gs_seen *seen)
{
    uint64_t n = gs_contexts(seen->busy_milli), gap = gs_gap_ns(slices->slice_ns, n);
    uint64_t elapsed = seen->elapsed_ns;
    uint64_t least = elapsed > gap ? (elapsed - gap) / n : 0;

    if (seen->busy_milli <= GS_MILLI + 50 || seen->learnt_ns > elapsed)
        return elapsed;
    return seen->learnt_ns < least ? least : seen->learnt_ns;
}

/* What light neighbours said they took, off a window's elapsed time: never all of it, and the rest waits for the next. */
static inline uint64_t gs_take_lights(uint64_t *said_ns, uint64_t elapsed_ns)
{
    uint64_t most = elapsed_ns / 4 * 3, taken = *said_ns < most ? *said_ns : most;

    *said_ns -= taken;
    return elapsed_ns - taken;
}

/* -------- what switches cost --------
 *
 * A share is one of the time that switches leave.  Everybody says how often it was switched to; the part of the time
 * that this took altogether goes on top of what each is charged. */

struct gs_loss {
    uint64_t at_ns, switch_ns; /* when it was looked at last, and what all had said by then */
    uint32_t ppm;
};

#define GS_LOSS_NS   100000000u /* between two looks */
#define GS_LOSS_MOST 300000u    /* ppm */

static inline void gs_loss_look(struct gs_loss *loss, uint64_t now_ns, uint64_t switch_ns)
{
    uint64_t since = now_ns - loss->at_ns;

    if (loss->at_ns != 0 && since < GS_LOSS_NS)
        return;
    if (loss->at_ns != 0 && since < 10 * GS_LOSS_NS) {
        uint64_t ppm = switch_ns > loss->switch_ns ? (switch_ns - loss->switch_ns) * 1000000u / since : 0;
        if (ppm > GS_LOSS_MOST)
            ppm = GS_LOSS_MOST;
        loss->ppm = (uint32_t)((3 * (uint64_t)loss->ppm + ppm) / 4);
    } else {
        loss->ppm = 0;
    }
    loss->at_ns = now_ns;
    loss->switch_ns = switch_ns;
}

static inline uint64_t gs_loss_of(const struct gs_loss *loss, uint64_t elapsed_ns)
{
    return elapsed_ns / 1000000u * loss->ppm;
}

static inline uint64_t gs_loss_on_top(const struct gs_loss *loss, uint64_t own_ns)
{
    if (__builtin_expect(loss->ppm == 0, 1))
        return 0;
    return own_ns / (1000000u - loss->ppm) * loss->ppm +
           own_ns % (1000000u - loss->ppm) * loss->ppm / (1000000u - loss->ppm);
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
