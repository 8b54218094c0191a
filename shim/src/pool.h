/* pool.h -- memory pools are charged for what they have reserved of the device, in use or not. */
#ifndef GS_POOL_H
#define GS_POOL_H

#include "ledger.h"

/* A pool's memory has been freed by the program; what the pool did with it is asked. */
void gs_pool_freed(const struct gs_entry *entry);

/* Asks every pool what it has reserved now: before refusing, before telling how much is free, and after the program has
 * waited for its work, when pools shrink.  Never waits for the GPU. */
void gs_pool_refresh(void);

/* The same, when there may be pools at all. */
extern int gs_pools_in_use;

void gs_pool_forget(void); /* in a fork's child */

#endif
