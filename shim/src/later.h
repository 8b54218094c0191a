/* later.h -- releases that wait until a stream has reached them. */
#ifndef GS_LATER_H
#define GS_LATER_H

#include "driver.h"
#include "ledger.h"

/* Releases the entry's bytes once all that is in the stream now is done.  False, with nothing done, where
 * this cannot be told. */
int gs_later_release(const struct gs_entry *entry, CUstream stream);

/* Releases what is done by now; asks the driver, waits for nothing. */
void gs_later_collect(void);

/* A context may be about to end.  Its events end with it, and must not be asked any more: so nobody asks until it is known,
 * and what waits for them is released once it has gone. */
void gs_later_hold(void);
void gs_later_context_gone(CUcontext context);
void gs_later_go_on(void);

void gs_later_forget(void); /* in a fork's child */

#endif
