/* process.h -- what only the core of the simulated driver shares: effects, the helper thread, the gate. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include "sim.h"

/* -------- gate.c: whether calls may begin (entry.h) -------- */

/* No call begins any more, except those made by others that are inside; then whether none is inside. */
void sim_gate_close(void);
bool sim_gate_quiet(void);
void sim_gate_open(void);

/* -------- checkpoint.c -------- */

/* Helper: do what was asked of this process; when to look again. */
uint64_t sim_checkpoint_serve(void);

/* -------- effects.c: what finished work does to memory, in the order in which the model finished it -------- */

void sim_effects_add(struct sim_stream *stream);
void sim_effects_remove(struct sim_stream *stream);
/* One more piece of work with an effect was queued. */
void sim_effects_expect(void);
bool sim_effects_expected(void);
/* Nothing changes memory meanwhile. Before sim_memory_lock. */
void sim_effects_pause(void);
void sim_effects_resume(void);
/* Carry out what is due; returns at once when nothing is expected. */
void sim_effects_run(void);
/* Helper: run host functions and waits that are due; when to look again. */
uint64_t sim_effects_host(void);

/* Does this kind change memory or call the host? */
static inline bool sim_has_effect(enum sim_work_kind kind)
{
    return kind == SIM_WORK_COPY || kind == SIM_WORK_FILL || kind == SIM_WORK_WRITE_VALUE;
}

static inline bool sim_needs_host(enum sim_work_kind kind)
{
    return kind == SIM_WORK_HOST || kind == SIM_WORK_WAIT_VALUE;
}

/* duration_ns and sms of a copy or a fill. */
void sim_transfer_cost(const struct sim_context *ctx, struct sim_work *work);
void sim_copy_perform(const struct sim_copy *copy);
void sim_fill_perform(const struct sim_fill *fill);
/* False when a mapping that it needs is gone: an illegal address, when it runs. */
bool sim_work_still_there(const struct sim_work *work);

/* -------- cost.c: host time that calls take -------- */

/* False and one line in `why` where SIMGPU_CALL_NS is no list of costs. */
bool sim_costs_read(char *why, unsigned why_size);
bool sim_costs_any(void);
/* Spend in the calling thread what a call of that function costs. */
void sim_cost_pay(const char *name);

/* -------- helper.c -------- */

/* Started by cuInit; dies with the process, which is how others notice its death. */
CUresult sim_helper_start(void);
void sim_helper_stop(void);
/* There is something for it to do at that time. */
void sim_helper_expect(uint64_t at_ns);

/* -------- context.c, stream.c -------- */

/* With the context's lock held. */
CUresult sim_context_set_heap(struct sim_context *ctx, size_t bytes);

/* The calling thread's own default stream of the context. */
CUresult sim_per_thread_stream(struct sim_context *ctx, struct sim_stream **stream);
CUresult sim_stream_open(struct sim_context *ctx, uint32_t flags, int priority, enum sim_stream_role role,
                         struct sim_stream **stream);
/* Within the range that streams have. */
int sim_stream_priority(int priority);
/* All streams of a context and of its green ones, and what each was given so far; the caller frees `entry`.  Another
 * thread may close one at any time: then it is not the stream of that point any more. */
struct sim_stream_list {
    uint32_t count;
    struct sim_stream_entry {
        struct sim_stream *stream;
        struct sim_point now;
    } * entry;
};
CUresult sim_context_streams(struct sim_context *ctx, struct sim_stream_list *all);
/* As sim_submit_after(), but nothing where the stream was closed. */
CUresult sim_submit_after_if_open(const struct sim_stream_entry *entry, struct sim_point point);
/* With the context's lock held; whatever was queued is done. */
void sim_stream_close(struct sim_stream *stream);

/* -------- memory.c -------- */

void sim_memory_forget(struct sim_context *ctx);

/* As sim_charge, but takes back what the process's pools keep, and evicts its managed memory, before it refuses.
 * Not under sim_memory_lock. */
CUresult sim_charge_or_trim(CUdevice device, enum sim_memory_kind kind, uint64_t bytes);

/* host.c */
void sim_host_memory_forget(struct sim_context *ctx);

/* managed.c: make room on the device if so much can be had by sending managed memory to the host. */
void sim_managed_evict(CUdevice device, uint64_t bytes);

/* -------- pool.c -------- */

CUresult sim_pool_alloc(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream,
                        CUdeviceptr *address);
/* Free in the order of that stream, or at once: its work was waited for. */
CUresult sim_pool_free(CUdeviceptr address, struct sim_stream *stream);
CUresult sim_pool_free_now(CUdeviceptr address);
/* The pool that a block of kind SIM_BLOCK_POOL came from. */
struct sim_pool *sim_pool_of(const struct sim_block *block);
/* After a synchronisation: what is kept beyond the release thresholds goes back to the device. */
void sim_pools_settle(void);
/* All that is kept goes back. */
void sim_pools_trim(CUdevice device);
/* The process's last context of the device is gone. */
void sim_pools_forget(CUdevice device);

#endif
