/* share_core.c -- the shim's pure functions as a library, so that tests drive the shipped code on virtual time. */
#include "bucket.h"
#include "charge.h"
#include "turn.h"

bool core_line_read(const struct gs_device_limits *limits, struct gs_line *line)
{
    return gs_line_read(limits, line);
}

int64_t core_line_at(const struct gs_line *line, uint64_t now_ns)
{
    return gs_line_at(line, now_ns);
}

int64_t core_look(int64_t *spent_ns, const struct gs_line *line, uint64_t now_ns)
{
    return gs_bucket_look(spent_ns, line, now_ns);
}

bool core_open(const struct gs_line *line, int64_t available_ns, int64_t need_ns, bool was_closed)
{
    return gs_bucket_open(line, available_ns, need_ns, was_closed);
}

uint64_t core_wait_ns(const struct gs_line *line, int64_t available_ns)
{
    return gs_bucket_wait_ns(line, available_ns);
}

void core_slices_init(struct gs_slices *slices)
{
    gs_slices_init(slices);
}

void core_slices_adopt(struct gs_slices *slices, uint64_t slice_ns)
{
    gs_slices_adopt(slices, slice_ns);
}

void core_slices_round(struct gs_slices *slices, uint64_t round_ns, uint32_t contexts, uint64_t ours_ns)
{
    gs_slices_round(slices, round_ns, contexts, ours_ns);
}

void core_slices_hear(struct gs_slices_said *said, uint64_t slice_ns)
{
    gs_slices_hear(said, slice_ns);
}

uint64_t core_slices_window_ns(const struct gs_slices *slices)
{
    return gs_slices_window_ns(slices);
}

void core_own(const struct gs_slices *slices, const struct gs_seen *seen, struct gs_phase *phase,
              struct gs_own *own)
{
    *own = gs_own(slices, seen, phase);
}

uint64_t core_take_lights(uint64_t *said_ns, uint64_t elapsed_ns)
{
    return gs_take_lights(said_ns, elapsed_ns);
}

void core_loss_look(struct gs_loss *loss, uint64_t now_ns, uint64_t switch_ns, uint64_t slice_ns)
{
    gs_loss_look(loss, now_ns, switch_ns, slice_ns);
}

uint64_t core_loss_on_top(const struct gs_loss *loss, uint64_t own_ns)
{
    return gs_loss_on_top(loss, own_ns);
}

uint64_t core_without_gaps(uint64_t own_ns, uint64_t submit_ns, uint64_t learnt_ns)
{
    return gs_without_gaps(own_ns, submit_ns, learnt_ns);
}

uint64_t core_union_add(struct gs_union *all, int64_t from_ns, int64_t to_ns)
{
    return gs_union_add(all, from_ns, to_ns);
}

uint64_t core_union_charge(struct gs_union *all, int64_t from_ns, int64_t to_ns, uint64_t could_ns,
                           uint64_t own_ns)
{
    uint64_t fresh_ns = gs_union_add(all, from_ns, to_ns);

    return gs_union_charge(all, from_ns, to_ns, fresh_ns, could_ns, own_ns);
}

void core_history_add(struct gs_history *history, uint64_t now_ns, uint32_t busy, uint32_t light,
                      uint64_t others_ns)
{
    gs_history_add(history, now_ns, busy, light, others_ns);
}

void core_history_busy(const struct gs_history *history, uint64_t from_ns, uint64_t to_ns,
                       struct gs_busy *busy)
{
    *busy = gs_history_busy(history, from_ns, to_ns);
}

bool core_turns_read(const struct gs_turns *shared, struct gs_turns *copy)
{
    return gs_turns_read(shared, copy);
}

uint32_t core_turn_place(const struct gs_turns *turns, uint64_t now_ns, uint64_t *begin_ns,
                         uint64_t *until_ns)
{
    return gs_turn_place(turns, now_ns, begin_ns, until_ns);
}

uint32_t core_turn_holder(const struct gs_turns *turns, uint32_t place, const bool *wants,
                          const int64_t *owed_ns)
{
    return gs_turn_holder(turns, place, wants, owed_ns);
}

bool core_turn_is_late(const struct gs_turns *turns, const struct gs_turn_part *part, int64_t kernel_ns,
                       uint64_t waited_ns)
{
    return gs_turn_is_late(turns, part, kernel_ns, waited_ns);
}

int64_t core_owed_say(const struct gs_owed *owed, const struct gs_turn_part *part, bool is_late)
{
    return gs_owed_say(owed, part, is_late);
}

int64_t core_owed_hear(int64_t from_ns, uint64_t own_ns, uint64_t all_ns, const struct gs_turn_part *part)
{
    return gs_owed_hear(from_ns, own_ns, all_ns, part);
}

int64_t core_owed_due(const struct gs_turns *turns, uint32_t own, uint64_t left_ns)
{
    return gs_owed_due(turns, own, left_ns);
}

void core_owed_look(struct gs_owed *owed, uint64_t own_ns, uint64_t all_ns, int64_t due_ns,
                    const struct gs_turn_part *part, int64_t need_ns, uint64_t waited_ns)
{
    gs_owed_look(owed, own_ns, all_ns, due_ns, part, need_ns, waited_ns);
}

int64_t core_owed_window(const struct gs_owed *owed, const struct gs_turn_part *part, int64_t left_ns,
                         int64_t in_flight_ns, int64_t remaining_ns)
{
    return gs_owed_window(owed, part, left_ns, in_flight_ns, remaining_ns);
}
