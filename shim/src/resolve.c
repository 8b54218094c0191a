/* resolve.c -- the roads on which a program looks for the driver's functions: dlsym, dlvsym, dlopen and
 * cuGetProcAddress.
 *
 * The loader finds what "next" means, and whose search path counts, by the return address of its caller.  So
 * what is passed on is passed on by a jump, whatever the optimisation: the loader sees the program and never
 * us. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

#include "hooks.h"
#include "loader.h"
#include "real.h"
#include "region.h"
#include "symbols.h"

#define JUMPS GS_EARLY GS_EXPORT __attribute__((optimize("O2")))

/* RTLD_NEXT is always passed on; for RTLD_DEFAULT the loader itself finds us first. */
GS_EARLY static int is_ours(const void *handle, const char *name)
{
    if (handle == RTLD_NEXT || handle == RTLD_DEFAULT)
        return 0;
    return (name[0] == 'c' && name[1] == 'u') || (name[0] == 'n' && name[1] == 'v') ||
           (name[0] == 'd' && name[1] == 'l');
}

/* What the program gets instead of `function`, which the loader has found for it. */
static void *replace(const char *name, void *function, const void *caller)
{
    const enum gs_library id = name[0] == 'n' ? GS_NVML : GS_CUDA;
    const struct gs_loader *loader = gs_loader();
    const struct link_map *object;

    if (!function)
        return NULL;
    if (function == loader->dlsym)
        return dlsym;
    if (function == loader->dlvsym)
        return dlvsym;
    if (function == loader->dlopen)
        return dlopen;
    object = gs_object_of(function);
    return object && gs_is_library(id, object) ? gs_replace_by_name(id, object, name, function, caller)
                                               : function;
}

JUMPS void *dlsym(void *handle, const char *name)
{
    const struct gs_loader *loader = gs_loader();

    if (is_ours(handle, name))
        return replace(name, loader->dlsym(handle, name), __builtin_return_address(0));
    return loader->dlsym(handle, name);
}

JUMPS void *dlvsym(void *handle, const char *name, const char *version)
{
    const struct gs_loader *loader = gs_loader();

    if (is_ours(handle, name))
        return replace(name, loader->dlvsym(handle, name, version), __builtin_return_address(0));
    return loader->dlvsym(handle, name, version);
}

/* A library loaded with RTLD_DEEPBIND finds the driver and the loader's own dlsym before ours.  Only where a
 * limit is in force is that taken away from the program. */
static int scope(int flags)
{
    if ((flags & RTLD_DEEPBIND) && gs_region_asked() && !getenv("GSHARE_KEEP_DEEPBIND"))
        return flags & ~RTLD_DEEPBIND;
    return flags;
}

JUMPS void *dlopen(const char *file, int flags)
{
    return gs_loader()->dlopen(file, scope(flags));
}

static CUresult answer(CUresult result, void **function, const void *caller)
{
    if (result == CUDA_SUCCESS && function)
        *function = gs_replace_by_address(*function, caller);
    return result;
}

GSHARE_HOOK(cuGetProcAddress, (const char *symbol, void **pfn, int version, cuuint64_t flags))
{
    return answer(REAL(cuGetProcAddress)(symbol, pfn, version, flags), pfn, __builtin_return_address(0));
}

GSHARE_HOOK(cuGetProcAddress_ptsz, (const char *symbol, void **pfn, int version, cuuint64_t flags))
{
    return answer(REAL(cuGetProcAddress_ptsz)(symbol, pfn, version, flags), pfn, __builtin_return_address(0));
}

GSHARE_HOOK(cuGetProcAddress_v2, (const char *symbol, void **pfn, int version, cuuint64_t flags,
                                  CUdriverProcAddressQueryResult *status))
{
    return answer(REAL(cuGetProcAddress_v2)(symbol, pfn, version, flags, status), pfn,
                  __builtin_return_address(0));
}

GSHARE_HOOK(cuGetProcAddress_v2_ptsz, (const char *symbol, void **pfn, int version, cuuint64_t flags,
                                       CUdriverProcAddressQueryResult *status))
{
    return answer(REAL(cuGetProcAddress_v2_ptsz)(symbol, pfn, version, flags, status), pfn,
                  __builtin_return_address(0));
}
