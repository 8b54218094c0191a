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

void gs_later_forget(void); /* in a fork's child */

#endif
