/* history.h -- how many contexts were busy, and when: pure functions, time is an argument. */
#ifndef GS_HISTORY_H
#define GS_HISTORY_H

#include <stdint.h>

#define GS_MILLI   1000u
#define GS_HISTORY 64 /* a power of two */
#define GS_LOOK_NS 500000u

/* Looks at the neighbours' busy words, taken whenever a marker is set or read. */
struct gs_history {
    uint32_t count;
    struct gs_look {
        uint64_t at_ns;
        uint32_t busy;      /* contexts, ours included, and light ones not */
        uint32_t light;     /* contexts */
        uint64_t others_ns; /* GPU time published so far by the other tenants */
    } look[GS_HISTORY];
};

/* Where looks are many and say the same, the newest stands for those just before it. */
static inline void gs_history_add(struct gs_history *history, uint64_t now_ns, uint32_t busy, uint32_t light,
                                  uint64_t others_ns)
{
    struct gs_look *last = &history->look[(history->count - 1) % GS_HISTORY];
    const struct gs_look *before = &history->look[(history->count - 2) % GS_HISTORY];

    if (history->count >= 2 && last->busy == busy && before->busy == busy && last->light == light &&
        before->light == light && now_ns - before->at_ns < GS_LOOK_NS)
        history->count--;
    history->look[history->count++ % GS_HISTORY] = (struct gs_look){now_ns, busy, light, others_ns};
}

/* What a stretch of time was like. */
struct gs_busy {
    uint32_t milli;     /* mean of busy contexts, in thousandths */
    uint64_t alone_ns;  /* nobody else was */
    uint64_t part_ns;   /* of the rest, what each has where all have the same */
    uint64_t light_ns;  /* a light neighbour was */
    uint64_t others_ns; /* published by the others */
};

/* Over [from, to); a look holds until the next one. */
static inline struct gs_busy gs_history_busy(const struct gs_history *history, uint64_t from_ns,
                                             uint64_t to_ns)
{
    uint32_t oldest = history->count > GS_HISTORY ? history->count - GS_HISTORY : 0;
    uint64_t until = to_ns, sum = 0, others_end = 0, others_start = 0;
    struct gs_busy busy = {.milli = GS_MILLI};

    if (history->count == 0)
        return busy;
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
        if (look->busy > 1)
            busy.part_ns += (until - since) / look->busy;
        else
            busy.alone_ns += until - since;
        busy.light_ns += look->light ? until - since : 0;
        until = since;
        if (since == from_ns)
            break;
    }
    busy.others_ns = others_end > others_start ? others_end - others_start : 0;
    busy.milli = (uint32_t)(sum * GS_MILLI / (to_ns - from_ns));
    return busy;
}

#endif
