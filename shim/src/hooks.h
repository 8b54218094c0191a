/* hooks.h -- what the table in hooks.def means in C: prototypes, and pointers to the real functions.
 *
 * REAL(name)(...) calls the driver's own function, of a HOOK or a NEED row.  The pointer is never NULL: it
 * starts as a stub that loads the driver and calls again, so nothing here asks "initialised?".  Where the
 * driver lacks the function, the call returns CUDA_ERROR_NOT_FOUND.
 *
 * GSHARE_HOOK(name, (...)) defines the function that a program gets instead.  A HOOK row without a body does
 * not link, a body without a row does not compile.
 *
 * Inside the shim nobody calls a hook by its own name: REAL() is the only way to the driver. */
#ifndef GS_HOOKS_H
#define GS_HOOKS_H

#include "driver.h"

#define GS_EXPORT   __attribute__((visibility("default")))
#define GS_INTERNAL __attribute__((visibility("hidden")))

typedef CUresult gs_result_CUDA;
typedef nvmlReturn_t gs_result_NVML;

#define HOOK(library, class, name, params, args)                                                             \
    typedef gs_result_##library gs_result_of_##name;                                                         \
    GS_EXPORT gs_result_##library name params;
#include "hooks.def"

struct gs_real {
#define HOOK(library, class, name, params, args) gs_result_##library(*name) params;
#define NEED(library, class, name, params, args) gs_result_##library(*name) params;
#include "hooks.def"
};

/* A member changes once, from the stub to the function, in one store: no reader ever sees anything else. */
extern struct gs_real gs_real GS_INTERNAL;

#define REAL(name)                (*__atomic_load_n(&gs_real.name, __ATOMIC_RELAXED))
#define GSHARE_HOOK(name, params) GS_EXPORT gs_result_of_##name name params

#endif
