/* slot.h -- the locks of slots: who is alive, who is dead, and who empties a slot, by the kernel's word alone.
 *
 * All take a descriptor of the usage file.  A lock lasts as long as a descriptor, or what was mapped through it. */
#ifndef GS_SLOT_H
#define GS_SLOT_H

#include <stdint.h>

#include "abi.h"

/* To empty it: 0 when it was nobody's, GS_SLOT_TAKEN when somebody has it, else what is in the way. */
#define GS_SLOT_TAKEN (-1)
int gs_slot_take(int fd, uint32_t slot);

/* The same for a slot that somebody may be emptying just now, which is waited for, some hundred microseconds, unless
 * that one has been stopped meanwhile: `patience` counts down the times, over all slots asked about. */
int gs_slot_take_dead(int fd, uint32_t slot, int *patience);

/* It is empty: nobody's again, or its taker's own, who lives from now on as long as the lock does. */
void gs_slot_let_go(int fd, uint32_t slot);
void gs_slot_own(int fd, uint32_t slot);

/* The descriptor may be closed: its locks last as long as this process, or until it execs. */
int gs_slot_keep_locks(int fd);

static inline void gs_slot_note_claimed(struct gs_usage *usage, uint32_t slot)
{
    __atomic_fetch_or(&usage->claimed[slot / 64], (uint64_t)1 << slot % 64, __ATOMIC_RELEASE);
}

static inline void gs_slot_note_empty(struct gs_usage *usage, uint32_t slot)
{
    __atomic_fetch_and(&usage->claimed[slot / 64], ~((uint64_t)1 << slot % 64), __ATOMIC_RELEASE);
}

#endif
