/* charge.h -- what a window between two markers cost: pure functions, time is an argument.
 *
 * The GPU gives the time between two events of a stream.  It holds more than our own kernels when other contexts
 * had slices meanwhile, when the stream ran dry, or when another stream of ours ran at the same time.  Three steps
 * take these out: gs_own (foreign slices), gs_without_gaps (idle), gs_union_charge (other streams). */
#ifndef GS_CHARGE_H
#define GS_CHARGE_H

#include <stdbool.h>
#include <stdint.h>

#include "history.h"
#include "slices.h"
#include "union.h"

#define GS_MAX_ROUNDS 256u /* contexts; more are treated as this many */
#define GS_STEADY     100u /* thousandths of a context that a number may be off */
#define GS_FEW        3u   /* contexts, of which none can be missing in a round and nothing show it */

/* -------- foreign slices --------
 *
 * Contexts are time-sliced round robin.  With n of them that always have work, each has one slice in a round, and a
 * round takes n slices and n switches.  A session begins with a slice of ours, so that from the elapsed time alone it is
 * known where in a round each marker lies, and how many slices we have had.  Where that is not known, elapsed = own +
 * m * gap, where a gap is a round without our slice, and own lies within one slice of m slices: m can be read off.
 * Windows that are known to be shorter than a slice are interrupted once or not at all: what was is the rest of a slice.
 *
 * Neighbours that come and go within a slice ("light") measure themselves exactly and say what they took: that is taken
 * off first. */

static inline uint64_t gs_gap_ns(uint64_t slice_ns, uint64_t contexts)
{
    return (contexts - 1) * slice_ns + contexts * GS_SWITCH_NS;
}

/* Where a stream is in a round. */
struct gs_phase {
    uint64_t used_ns; /* of our present slice */
    bool known;
};

/* A session begins with a slice. */
static inline struct gs_phase gs_phase_new(void)
{
    return (struct gs_phase){.known = true};
}

/* One window, as its markers and the neighbours' words show it. */
struct gs_seen {
    uint64_t elapsed_ns; /* less what light neighbours took */
    uint64_t learnt_ns;  /* what its kernels are known to take */
    uint32_t busy_milli; /* mean number of busy contexts, ours included, in thousandths */
    uint64_t alone_ns;   /* nobody else was */
    uint64_t part_ns;    /* of the rest, what each has where all have the same */
    uint64_t launch_ns;  /* what one kernel has taken lately; 0: nothing was measured */
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

/* The number of busy contexts, where it was one all the time; else 0. */
static inline uint32_t gs_steady_contexts(uint32_t busy_milli)
{
    uint32_t n = (busy_milli + GS_MILLI / 2) / GS_MILLI;
    uint32_t apart = busy_milli > n * GS_MILLI ? busy_milli - n * GS_MILLI : n * GS_MILLI - busy_milli;

    return apart <= GS_STEADY ? n : 0;
}

/* Without an interruption. */
static inline struct gs_own gs_uninterrupted(const struct gs_slices *slices, const struct gs_seen *seen,
                                             struct gs_phase *phase)
{
    uint64_t used = phase->used_ns + seen->elapsed_ns;

    phase->used_ns = used < slices->slice_ns ? used : slices->slice_ns;
    return (struct gs_own){.ns = seen->elapsed_ns};
}

/* A window shorter than a slice that was interrupted: what was missing of the slice that was ours in this round, and of
 * the next one half of what its kernels are known to take. */
static inline struct gs_own gs_interrupted(const struct gs_slices *slices, const struct gs_seen *seen,
                                           struct gs_phase *phase)
{
    uint64_t learnt = seen->learnt_ns, own = learnt;

    if (slices->known && phase->known)
        own = slices->slice_ns - phase->used_ns + learnt / 2;
    if (own > 2 * learnt)
        own = 2 * learnt;
    if (own > seen->elapsed_ns - GS_SWITCH_NS)
        own = seen->elapsed_ns - GS_SWITCH_NS;
    phase->used_ns = learnt / 2;
    phase->known = true;
    return (struct gs_own){.ns = own, .rounds = 1, .guessed = true};
}

/* A window of any length.  Where it begins in a round, and how many are busy all the time, is known: it is slices that are
 * counted, and an error in the length of a round does not grow with the number of neighbours. */
static inline struct gs_own gs_own_of_rounds(const struct gs_slices *slices, const struct gs_seen *seen,
                                             struct gs_phase *phase, uint64_t n)
{
    uint64_t slice = slices->slice_ns, gap = gs_gap_ns(slice, n), round = slice + gap;
    uint64_t since = phase->used_ns + seen->elapsed_ns, rounds = (since + gap / 2) / round;

    if (rounds == 0)
        return gs_uninterrupted(slices, seen, phase);
    uint64_t used = since > rounds * round ? since - rounds * round : 0;
    used = used < slice ? used : slice;
    struct gs_own own = {.ns = rounds * slice + used - phase->used_ns, .rounds = rounds};
    phase->used_ns = used;
    return own;
}

/* The same where it is not known: as many gaps as leave a slice for each. */
static inline struct gs_own gs_own_of_gaps(const struct gs_slices *slices, const struct gs_seen *seen,
                                           struct gs_phase *phase, uint64_t n)
{
    uint64_t slice = slices->slice_ns, gap = gs_gap_ns(slice, n);
    uint64_t rounds = (seen->elapsed_ns + (slice + gap) / 2) / (slice + gap);

    if (rounds == 0)
        return gs_uninterrupted(slices, seen, phase);
    struct gs_own own = {.rounds = rounds};
    own.ns = seen->elapsed_ns > rounds * gap ? seen->elapsed_ns - rounds * gap : 0;
    phase->known = n > 2; /* about: better than an error in n gaps */
    phase->used_ns = (own.ns < slice ? own.ns : slice) / 2;
    return own;
}

/* The same where their number varied: a round was as long as it was in the mean, and foreign slices are whole ones. */
static inline struct gs_own gs_own_varied(const struct gs_slices *slices, const struct gs_seen *seen,
                                          struct gs_phase *phase)
{
    uint64_t slice = slices->slice_ns, each = slice + GS_SWITCH_NS, part = seen->part_ns,
             elapsed = seen->elapsed_ns;
    uint64_t contended = elapsed > seen->alone_ns ? elapsed - seen->alone_ns : 0;
    uint64_t round = part != 0 && contended > part ? contended * each / part : each, gap = round - slice;
    uint64_t rounds = (contended + (phase->known ? phase->used_ns + gap / 2 : round / 2)) / round;
    uint64_t count = (rounds * (round - each) + each / 2) / each,
             foreign = count * each + rounds * GS_SWITCH_NS;

    if (rounds == 0 || count == 0)
        return gs_uninterrupted(slices, seen, phase);
    phase->known = false;
    return (struct gs_own){.ns = elapsed > foreign ? elapsed - foreign : 0, .rounds = rounds};
}

/* The same for long kernels: what each has where all have the same.  What is wrong in one window is made up for in the next
 * one of the session. */
static inline struct gs_own gs_own_of_parts(const struct gs_slices *slices, const struct gs_seen *seen,
                                            struct gs_phase *phase)
{
    uint64_t slice = slices->slice_ns, each = slice + GS_SWITCH_NS, part = seen->part_ns;
    uint64_t contended = seen->elapsed_ns > seen->alone_ns ? seen->elapsed_ns - seen->alone_ns : 0;
    uint64_t rounds = (part + each / 2) / each;
    int64_t own = (int64_t)(seen->alone_ns + part / each * slice + part % each * slice / each);

    if (slices->known && phase->known &&
        contended > part) { /* in the mean, it ends in the middle of a slice */
        int64_t more = (int64_t)slice / 2 - (int64_t)phase->used_ns;
        own += more * (int64_t)(contended - part) / (int64_t)contended;
    }
    if (rounds == 0 || contended <= part || own >= (int64_t)seen->elapsed_ns)
        return gs_uninterrupted(slices, seen, phase);
    phase->known = false;
    return (struct gs_own){.ns = own > 0 ? (uint64_t)own : 0, .rounds = rounds};
}

/* Whether its end, too, lies in a slice of ours, as it must if neighbours had whole ones. */
static inline bool gs_fits_rounds(const struct gs_slices *slices, const struct gs_seen *seen,
                                  const struct gs_phase *phase, uint64_t n)
{
    uint64_t round = slices->slice_ns + gs_gap_ns(slices->slice_ns, n);
    uint64_t at = (phase->used_ns + seen->elapsed_ns) % round;

    return at <= slices->slice_ns + GS_SWITCH_NS / 2 || at + GS_SWITCH_NS / 2 > round;
}

static inline struct gs_own gs_own_contended(const struct gs_slices *slices, const struct gs_seen *seen,
                                             struct gs_phase *phase)
{
    uint64_t elapsed = seen->elapsed_ns, learnt = seen->learnt_ns, slice = slices->slice_ns;
    uint64_t beyond = elapsed > learnt ? elapsed - learnt : 0;
    uint64_t n = gs_contexts(seen->busy_milli), gap = gs_gap_ns(slice, n);

    if (phase->used_ns > slice) /* it was thought to be longer */
        phase->used_ns = slice;
    const bool steady = gs_steady_contexts(seen->busy_milli) == n;
    if (steady && n <= GS_FEW && slices->known && phase->known && gs_fits_rounds(slices, seen, phase, n))
        return gs_own_of_rounds(slices, seen, phase, n);
    if (learnt != 0 && learnt < (slices->known ? slice / 4 * 3 : slice / 2)) {
        uint64_t least = slice / 2 + GS_SWITCH_NS, doubt = learnt / 2 + GS_SWITCH_NS;
        if (beyond < (slices->known || least < doubt ? least : doubt))
            return gs_uninterrupted(slices, seen, phase);
        if (beyond < (slices->known ? gap + gap / 2 : gs_gap_ns(GS_SLICE_MOST_NS, n)))
            return gs_interrupted(slices, seen, phase);
    }
    if (!steady)
        return seen->launch_ns > slice ? gs_own_of_parts(slices, seen, phase)
                                       : gs_own_varied(slices, seen, phase);
    if (slices->known && phase->known)
        return gs_own_of_rounds(slices, seen, phase, n);
    return gs_own_of_gaps(slices, seen, phase, n);
}

/* The part of a window that was our own. */
static inline struct gs_own gs_own(const struct gs_slices *slices, const struct gs_seen *seen,
                                   struct gs_phase *phase)
{
    if (seen->busy_milli <= GS_MILLI + 50) {
        *phase = (struct gs_phase){0};
        return (struct gs_own){.ns = seen->elapsed_ns};
    }
    return gs_own_contended(slices, seen, phase);
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
    uint64_t slice_ns;         /* how long slices were thought to be then, if kernels were longer */
    uint32_t ppm;
    uint32_t anew; /* so many looks are to forget what was before */
};

#define GS_LOSS_NS   100000000u /* between two looks */
#define GS_LOSS_MOST 300000u    /* ppm */
#define GS_LOSS_ANEW 3          /* looks, where slices turn out to be of another length */

/* `slice_ns`: 0 where kernels are shorter, whose switches are seen whatever slices are thought to be. */
static inline void gs_loss_look(struct gs_loss *loss, uint64_t now_ns, uint64_t switch_ns, uint64_t slice_ns)
{
    uint64_t since = now_ns - loss->at_ns;

    if (slice_ns != 0 && (slice_ns > loss->slice_ns / 4 * 5 || slice_ns < loss->slice_ns / 4 * 3)) {
        loss->slice_ns = slice_ns;
        loss->anew = GS_LOSS_ANEW;
    }
    if (loss->at_ns != 0 && since < GS_LOSS_NS)
        return;
    if (loss->at_ns != 0 && since < 10 * GS_LOSS_NS) {
        uint64_t ppm = switch_ns > loss->switch_ns ? (switch_ns - loss->switch_ns) * 1000000u / since : 0;
        if (ppm > GS_LOSS_MOST)
            ppm = GS_LOSS_MOST;
        bool forget = loss->anew > 0 || ppm < loss->ppm / 2; /* somebody left */
        loss->anew -= loss->anew > 0;
        loss->ppm = (uint32_t)(forget ? ppm : (3 * (uint64_t)loss->ppm + ppm) / 4);
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

#endif
