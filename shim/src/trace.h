/* trace.h -- the ledger of charges that `gshare run --trace-memory` asks for. */
#ifndef GS_TRACE_H
#define GS_TRACE_H

#include <stdint.h>

#include "abi.h"

/* What a row of the accounts is after something has happened to it. */
struct gs_trace_row {
    int row;
    uint64_t process_bytes; /* held by the process */
    uint64_t used_bytes;    /* held by the tenant */
    uint64_t limit_bytes;
};

/* Whether a ledger is kept: asked before the first change of a row, as the fast path then stays away from it. */
int gs_trace_on(void);

/* None of these does anything where no ledger is kept. */
void gs_trace_change(const struct gs_trace_row *row, uint32_t kind, int64_t bytes);
void gs_trace_refusal(const struct gs_trace_row *row, const char *api, uint64_t bytes);

/* What a dead process held has been given back. */
void gs_trace_ended(const struct gs_trace_row *row, uint32_t pid, uint64_t bytes);

void gs_trace_forget(void); /* in a fork's child */

#endif
