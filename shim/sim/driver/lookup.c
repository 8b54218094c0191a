/* lookup.c -- what a program can ask before cuInit: functions by name, names of errors, the driver's version.
 */
#include "api.h"
#include "profile.h"

#include <stdlib.h>
#include <string.h>

enum { LOOKUP_LEGACY_STREAM = 1, LOOKUP_PER_THREAD_STREAM = 2, LOOKUP_FLAGS = 3 };
enum query_result { QUERY_SUCCESS, QUERY_NOT_FOUND, QUERY_VERSION_NOT_SUFFICIENT };

static int compare_names(const void *name, const void *row)
{
    return strcmp(name, ((const struct sim_api *)row)->name);
}

/* The newest revision that is neither newer than the caller's version nor than this driver. */
static enum query_result look_up(const char *name, unsigned version, uint64_t flags, void **function)
{
    const struct sim_api *end = sim_api + sim_api_count;
    const struct sim_api *row = bsearch(name, sim_api, sim_api_count, sizeof(*row), compare_names);
    bool exists = false, has_per_thread = false;
    const struct sim_api *best[2] = {NULL, NULL};
    while (row && row > sim_api && strcmp(row[-1].name, name) == 0)
        row--;
    for (; row && row < end && strcmp(row->name, name) == 0; row++) {
        if (row->version > SIM_DRIVER_VERSION)
            continue;
        exists = true;
        has_per_thread |= row->per_thread;
        if ((unsigned)row->version <= version &&
            (!best[row->per_thread] || best[row->per_thread]->version < row->version))
            best[row->per_thread] = row;
    }
    const struct sim_api *found = best[flags & LOOKUP_PER_THREAD_STREAM && has_per_thread];
    *function = found ? found->function : NULL;
    return found ? QUERY_SUCCESS : exists ? QUERY_VERSION_NOT_SUFFICIENT : QUERY_NOT_FOUND;
}

SIM_API(cuGetProcAddress, (const char *symbol, void **function, int version, uint64_t flags))
{
    void *found;
    if (!symbol || !function || flags & ~(uint64_t)LOOKUP_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if (look_up(symbol, (unsigned)version, flags, &found) != QUERY_SUCCESS)
        return CUDA_ERROR_NOT_FOUND;
    *function = found;
    return CUDA_SUCCESS;
}

SIM_API(cuGetProcAddress_v2,
        (const char *symbol, void **function, int version, uint64_t flags, enum query_result *status))
{
    if (!symbol || !function || flags & ~(uint64_t)LOOKUP_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    enum query_result result = look_up(symbol, (unsigned)version, flags, function);
    if (status)
        *status = result;
    return CUDA_SUCCESS;
}

static const struct error {
    unsigned code;
    const char *name, *text;
} errors[] = {
#define ERROR(code, name, text) {code, "CUDA_" #name, text},
#include "errors.def"
#undef ERROR
};

static const struct error *find_error(CUresult code)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].code == (unsigned)code)
            return &errors[i];
    return NULL;
}

SIM_API(cuGetErrorName, (CUresult code, const char **name))
{
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    const struct error *error = find_error(code);
    *name = error ? error->name : NULL;
    return error ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGetErrorString, (CUresult code, const char **text))
{
    if (!text)
        return CUDA_ERROR_INVALID_VALUE;
    const struct error *error = find_error(code);
    *text = error ? error->text : NULL;
    return error ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuDriverGetVersion, (int *version))
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = SIM_DRIVER_VERSION;
    return CUDA_SUCCESS;
}

/* The private tables of the real driver are not imitated: every identifier is unknown. */
SIM_API(cuGetExportTable, (const void **table, const CUuuid *id))
{
    return CUDA_ERROR_INVALID_VALUE;
}
