/* api.h -- the table of all driver functions, for lookups by name. */
#ifndef SIM_API_H
#define SIM_API_H

#include "sim.h"

struct sim_api {
    const char *name; /* without the suffixes of its ABI */
    const char *symbol;
    int version;
    bool per_thread;
    void *function;
};

extern const struct sim_api sim_api[]; /* in order of name */
extern const size_t sim_api_count;

#endif
