/* hooks.h -- what the table in hooks.def means in C: ids, prototypes, and pointers to the real functions.
 *
 *   REAL(name)(…)                calls the driver's own function.  Never NULL: a pointer starts as a stub that
 *                                loads the driver and calls again, so nothing here asks "initialised?".  Where the
 *                                driver lacks the function it answers CUDA_ERROR_NOT_FOUND.  HOOK and NEED rows.
 *   GSHARE_HOOK(name, (…)) {…}   defines the function that a program gets instead.  HOOK rows: one without a
 *                                body does not link, a body without a row does not compile.
 *
 * Inside the shim nobody calls a hook by its name: REAL() is the only way to the driver. */
#ifndef GS_HOOKS_H
#define GS_HOOKS_H

#include "driver.h"

#define GS_EXPORT __attribute__((visibility("default")))

enum gs_library { GS_CUDA, GS_NVML, GS_LIBRARIES };

typedef CUresult gs_result_CUDA;
typedef nvmlReturn_t gs_result_NVML;

#define HOOK(library, class, name, params, args)                                                             \
    typedef gs_result_##library gs_result_of_##name;                                                         \
    GS_EXPORT gs_result_##library name params;
#define NEED(library, class, name, params, args)
#define PASS(library, class, name)
#include "hooks.def"
#undef HOOK
#undef NEED
#undef PASS

/* Rows that we can call.  Hooked rows come first, so that an id below GS_HOOKS is one that we replace. */
enum gs_function {
#define HOOK(library, class, name, params, args) GS_ID_##name,
#define NEED(library, class, name, params, args)
#define PASS(library, class, name)
#include "hooks.def"
#undef HOOK
    GS_HOOKS,
    GS_BEFORE_NEEDS = GS_HOOKS - 1,
#undef NEED
#define HOOK(library, class, name, params, args)
#define NEED(library, class, name, params, args) GS_ID_##name,
#include "hooks.def"
#undef HOOK
#undef NEED
#undef PASS
    GS_FUNCTIONS
};

struct gs_real {
#define HOOK(library, class, name, params, args) gs_result_##library(*name) params;
#define NEED                                     HOOK
#define PASS(library, class, name)
#include "hooks.def"
#undef HOOK
#undef NEED
#undef PASS
};

/* Each member is stored once, whole, by whoever loads the driver first; a reader sees the stub or the function. */
extern struct gs_real gs_real;

#define REAL(name)                (*__atomic_load_n(&gs_real.name, __ATOMIC_RELAXED))
#define GSHARE_HOOK(name, params) GS_EXPORT gs_result_of_##name name params

#endif
