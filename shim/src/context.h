/* context.h -- what a context takes of the device by existing. */
#ifndef GS_CONTEXT_H
#define GS_CONTEXT_H

void gs_context_forget(void); /* in a fork's child */

#endif
