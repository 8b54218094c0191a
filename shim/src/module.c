/* module.c -- modules and libraries: device memory for code and variables.
 *
 * What an image will take is known at most by an upper bound, before it is loaded and after: the driver tells no
 * sizes.  The bound is charged until the module is unloaded or its context ends; a library's, in every context. */
#include "code_size.h"
#include "context.h"
#include "device.h"
#include "hooks.h"
#include "ledger.h"
#include "reserve.h"

/* Lets go of what the ledger had under a handle that the driver has just given out again. */
static void drop_stale(const struct gs_entry *stale)
{
    if (stale->kind == GS_LIBRARY)
        gs_context_release_each(stale->bytes);
    else
        gs_entry_release(stale);
}

/* -------- modules: of the current context -------- */

static int begin(struct gs_entry *entry, uint64_t bytes)
{
    CUcontext context = NULL;

    REAL(cuCtxGetCurrent)(&context);
    *entry = (struct gs_entry){bytes, (uint64_t)context, gs_current_device(), GS_MODULE};
    return gs_reserve(entry->device, GS_MODULE, bytes);
}

static CUresult end(const struct gs_entry *entry, CUresult result, CUmodule *module)
{
    struct gs_entry stale;
    enum gs_noted noted = GS_NOTED;

    if (!result && entry->device >= 0)
        noted = gs_ledger_put((uint64_t)*module, entry, &stale);
    if (noted == GS_NOTED_OVER)
        drop_stale(&stale);
    if (noted == GS_NOT_NOTED) {
        REAL(cuModuleUnload)(*module);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result)
        gs_quota_release(entry->device, entry->kind, entry->bytes);
    return result;
}

GSHARE_HOOK(cuModuleLoad, (CUmodule * module, const char *fname))
{
    struct gs_entry entry;

    if (!gs_region() || !module || !fname)
        return REAL(cuModuleLoad)(module, fname);
    if (!begin(&entry, gs_code_size_of_file(fname)))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return end(&entry, REAL(cuModuleLoad)(module, fname), module);
}

GSHARE_HOOK(cuModuleLoadData, (CUmodule * module, const void *image))
{
    struct gs_entry entry;

    if (!gs_region() || !module || !image)
        return REAL(cuModuleLoadData)(module, image);
    if (!begin(&entry, gs_code_size(image)))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return end(&entry, REAL(cuModuleLoadData)(module, image), module);
}

GSHARE_HOOK(cuModuleLoadDataEx, (CUmodule * module, const void *image, unsigned int numOptions, int *options,
                                 void **optionValues))
{
    struct gs_entry entry;

    if (!gs_region() || !module || !image)
        return REAL(cuModuleLoadDataEx)(module, image, numOptions, options, optionValues);
    if (!begin(&entry, gs_code_size(image)))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return end(&entry, REAL(cuModuleLoadDataEx)(module, image, numOptions, options, optionValues), module);
}

GSHARE_HOOK(cuModuleLoadFatBinary, (CUmodule * module, const void *fatCubin))
{
    struct gs_entry entry;

    if (!gs_region() || !module || !fatCubin)
        return REAL(cuModuleLoadFatBinary)(module, fatCubin);
    if (!begin(&entry, gs_code_size(fatCubin)))
        return gs_refuse(__func__, entry.device, entry.bytes);
    return end(&entry, REAL(cuModuleLoadFatBinary)(module, fatCubin), module);
}

/* The note is taken before: once unloaded, another thread may get the same handle. */
GSHARE_HOOK(cuModuleUnload, (CUmodule hmod))
{
    struct gs_entry entry, stale;
    int known = gs_region() && gs_ledger_take((uint64_t)hmod, &entry);
    CUresult result = REAL(cuModuleUnload)(hmod);

    if (known && !result)
        gs_quota_release(entry.device, entry.kind, entry.bytes);
    else if (known)
        gs_ledger_put((uint64_t)hmod, &entry, &stale); /* room for it was there a moment ago */
    return result;
}

/* -------- libraries: of no context, and of any -------- */

static CUresult loaded(CUresult result, uint64_t bytes, CUlibrary *library)
{
    struct gs_entry entry = {.bytes = bytes, .device = GS_NO_DEVICE, .kind = GS_LIBRARY};
    struct gs_entry stale;
    enum gs_noted noted = GS_NOTED;

    if (!result) {
        entry.owner = (uint64_t)*library; /* its own */
        noted = gs_ledger_put(entry.owner, &entry, &stale);
    }
    if (noted == GS_NOTED_OVER)
        drop_stale(&stale);
    if (noted == GS_NOT_NOTED) {
        REAL(cuLibraryUnload)(*library);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result)
        gs_context_release_each(bytes);
    return result;
}

GSHARE_HOOK(cuLibraryLoadData, (CUlibrary * library, const void *code, int *jitOptions,
                                void **jitOptionsValues, unsigned int numJitOptions, int *libraryOptions,
                                void **libraryOptionValues, unsigned int numLibraryOptions))
{
    uint64_t bytes, more;
    int device;

    if (!gs_region() || !library || !code)
        return REAL(cuLibraryLoadData)(library, code, jitOptions, jitOptionsValues, numJitOptions,
                                       libraryOptions, libraryOptionValues, numLibraryOptions);
    bytes = gs_code_size(code);
    if (!gs_context_charge_each(bytes, &device, &more))
        return gs_refuse(__func__, device, more);
    return loaded(REAL(cuLibraryLoadData)(library, code, jitOptions, jitOptionsValues, numJitOptions,
                                          libraryOptions, libraryOptionValues, numLibraryOptions),
                  bytes, library);
}

GSHARE_HOOK(cuLibraryLoadFromFile, (CUlibrary * library, const char *fileName, int *jitOptions,
                                    void **jitOptionsValues, unsigned int numJitOptions, int *libraryOptions,
                                    void **libraryOptionValues, unsigned int numLibraryOptions))
{
    uint64_t bytes, more;
    int device;

    if (!gs_region() || !library || !fileName)
        return REAL(cuLibraryLoadFromFile)(library, fileName, jitOptions, jitOptionsValues, numJitOptions,
                                           libraryOptions, libraryOptionValues, numLibraryOptions);
    bytes = gs_code_size_of_file(fileName);
    if (!gs_context_charge_each(bytes, &device, &more))
        return gs_refuse(__func__, device, more);
    return loaded(REAL(cuLibraryLoadFromFile)(library, fileName, jitOptions, jitOptionsValues, numJitOptions,
                                              libraryOptions, libraryOptionValues, numLibraryOptions),
                  bytes, library);
}

GSHARE_HOOK(cuLibraryUnload, (CUlibrary library))
{
    struct gs_entry entry, stale;
    int known = gs_region() && gs_ledger_take((uint64_t)library, &entry);
    CUresult result = REAL(cuLibraryUnload)(library);

    if (known && !result)
        gs_context_release_each(entry.bytes);
    else if (known)
        gs_ledger_put((uint64_t)library, &entry, &stale); /* room for it was there a moment ago */
    return result;
}
