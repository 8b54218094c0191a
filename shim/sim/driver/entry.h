/* entry.h -- how an exported function begins: is the driver there, is the process locked, is a fault asked for.
 *
 * Each thread counts the calls that it is inside of, so that a checkpoint can wait until none is.  The count and the
 * gate are plain words; whoever closes the gate pays for the ordering (gate.c). */
#ifndef SIM_ENTRY_H
#define SIM_ENTRY_H

#include "cuda_types.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sim_caller {
    _Atomic uint32_t inside; /* calls of the driver, one in another */
    _Atomic uint32_t helps;  /* the helper thread: no gate holds it up */
    struct sim_caller *next; /* of all that there ever were */
    _Atomic uint32_t used;   /* by a thread that lives */
};

/* Nothing but SIM_GATE_READY: calls go on without a look at anything else. */
enum sim_gate_bit { SIM_GATE_READY = 1, SIM_GATE_FAULTS = 2, SIM_GATE_LOCKED = 4, SIM_GATE_COSTS = 8 };

extern _Atomic uint32_t sim_gate;
extern __thread struct sim_caller *sim_caller;

struct sim_caller *sim_caller_new(void);
/* The gate is not simply open: wait while the process is locked; the error that the call shall return. */
CUresult sim_gate_pass(struct sim_caller *caller, const char *name);

static inline struct sim_caller *sim_call_enter(void)
{
    struct sim_caller *self = sim_caller;
    if (__builtin_expect(self == NULL, 0))
        self = sim_caller_new();
    uint32_t inside = atomic_load_explicit(&self->inside, memory_order_relaxed);
    atomic_store_explicit(&self->inside, inside + 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    return self;
}

static inline void sim_call_leave(struct sim_caller **self)
{
    uint32_t inside = atomic_load_explicit(&(*self)->inside, memory_order_relaxed);
    atomic_store_explicit(&(*self)->inside, inside - 1, memory_order_release);
}

/* Return from the caller on any error. */
#define SIM_TRY(call)                                                                                        \
    do {                                                                                                     \
        CUresult sim_result_ = (call);                                                                       \
        if (__builtin_expect(sim_result_ != CUDA_SUCCESS, 0))                                                \
            return sim_result_;                                                                              \
    } while (0)

/* The first statement of a function: it declares what undoes it at every return. */
#define SIM_ENTER(name)                                                                                      \
    struct sim_caller *sim_caller_ __attribute__((cleanup(sim_call_leave))) = sim_call_enter();              \
    if (__builtin_expect(atomic_load_explicit(&sim_gate, memory_order_acquire) != SIM_GATE_READY, 0))        \
    SIM_TRY(sim_gate_pass(sim_caller_, #name))

/* Declares `ctx`, the current context, whatever state it is in. */
#define SIM_ENTER_ANY_CONTEXT(name, ctx)                                                                     \
    SIM_ENTER(name);                                                                                         \
    struct sim_context *ctx = sim_current_context();                                                         \
    if (__builtin_expect(ctx == NULL, 0))                                                                    \
    return sim_no_context()

/* Declares `ctx`, the current context; one that has failed answers everything with its error. */
#define SIM_ENTER_CONTEXT(name, ctx)                                                                         \
    SIM_ENTER_ANY_CONTEXT(name, ctx);                                                                        \
    SIM_TRY(sim_context_error(ctx))

#endif
