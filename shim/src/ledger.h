/* ledger.h -- what this process's live handles (pointers, contexts, pools) are charged for. */
#ifndef GS_LEDGER_H
#define GS_LEDGER_H

#include <stdint.h>

#include "quota.h"

/* What a handle is.  Modulo GS_CHARGES it is what the handle is charged for. */
enum gs_kind {
    GS_CONTEXT_MORE = GS_CHARGES + GS_CONTEXT, /* a heap or stack raised by cuCtxSetLimit */
    GS_LIBRARY = GS_CHARGES + GS_MODULE,
    GS_GRAPH_EXEC = GS_CHARGES + GS_GRAPH, /* nothing: notes on what its launches take */
    GS_IMPORTED = 2 * GS_CHARGES,          /* nothing: its owner pays */
};

struct gs_entry {
    uint64_t bytes; /* charged for this handle */
    uint64_t owner; /* the context or pool that it goes with */
    int32_t device;
    uint32_t kind; /* enum gs_charge or gs_kind */
};

/* Handles are addresses of one process, so that no two kinds share one; 0 is none. */

enum gs_noted {
    GS_NOT_NOTED = 0, /* no memory for it */
    GS_NOTED,
    GS_NOTED_OVER, /* a stale entry, as the driver has just given the handle out again: `stale` has it */
};

enum gs_noted gs_ledger_put(uint64_t handle, const struct gs_entry *entry, struct gs_entry *stale);

/* False: not known. */
int gs_ledger_take(uint64_t handle, struct gs_entry *entry);
int gs_ledger_find(uint64_t handle, struct gs_entry *entry);

/* Takes all entries of that owner, and hands each to `each`.  As slow as the ledger is long. */
void gs_ledger_take_owned(uint64_t owner, void (*each)(uint64_t handle, const struct gs_entry *entry));

/* One entry of that owner and kind, which stays.  False: there is none.  As slow as the ledger is long. */
int gs_ledger_find_owned(uint64_t owner, uint32_t kind, uint64_t *handle);

/* What was one owner's is another's from now on.  As slow as the ledger is long. */
void gs_ledger_hand_on(uint64_t from, uint64_t to);

/* False: its memory belongs to something that is charged as a whole, a pool or what the driver keeps for graphs, or
 * to somebody else. */
static inline int gs_is_charge(const struct gs_entry *entry)
{
    return !(1u << entry->kind & (1u << GS_POOL | 1u << GS_GRAPH | 1u << GS_GRAPH_EXEC | 1u << GS_IMPORTED));
}

/* Gives back what was charged for a handle, if anything was: one that the driver has given out again. */
static inline void gs_entry_release(const struct gs_entry *entry)
{
    if (gs_is_charge(entry))
        gs_quota_release(entry->device, entry->kind, entry->bytes);
}

void gs_ledger_forget(void); /* in a fork's child */

#endif
