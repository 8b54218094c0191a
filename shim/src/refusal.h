/* refusal.h -- what the controller hears of allocations that would have passed the limit. */
#ifndef GS_REFUSAL_H
#define GS_REFUSAL_H

#include <stdint.h>

/* `api`: the function that was called; `bytes`: what would have been charged on `device`. */
void gs_refusal_note(const char *api, int device, uint64_t bytes);

#endif
