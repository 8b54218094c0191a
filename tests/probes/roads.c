/* roads.c -- finds the driver's functions in one of the three ways that programs do. */
#define _GNU_SOURCE
#include "probe.h"

#include <dlfcn.h>
#include <string.h>

enum { LEGACY_STREAM = 1, PER_THREAD_STREAM = 2 };

#ifdef LINKED
#define FUNCTION(symbol, name, version, stream) extern int symbol(void) __attribute__((weak));
#include "functions.def"
#else
#define FUNCTION(symbol, name, version, stream) static void *const symbol = NULL;
#include "functions.def"
#endif

static const struct function {
    const char *symbol, *name;
    int version, stream;
    void *linked;
} functions[] = {
#define FUNCTION(symbol, name, version, stream) {#symbol, #name, version, stream##_STREAM, (void *)symbol},
#include "functions.def"
};

static const struct function *row_of(const char *symbol)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
        if (strcmp(functions[i].symbol, symbol) == 0)
            return &functions[i];
    return NULL;
}

static void *by_link(const struct function *row)
{
    return row->linked;
}

static void *driver(void)
{
    static void *handle;
    if (!handle)
        handle = dlopen("libcuda.so.1", RTLD_NOW);
    return handle;
}

static void *by_dlsym(const struct function *row)
{
    return driver() ? dlsym(driver(), row->symbol) : NULL;
}

/* An older driver would answer with an older revision, which takes other arguments. */
static bool is_newer_than_driver(const struct function *row)
{
    int version = 0, (*ask)(int *);
    *(void **)&ask = dlsym(driver(), "cuDriverGetVersion");
    return !ask || ask(&version) || version < row->version;
}

/* As the CUDA runtime does: the lookup itself by name, everything else by version. */
static void *by_lookup(const struct function *row)
{
    static int (*newer)(const char *, void **, int, uint64_t, int *);
    static int (*older)(const char *, void **, int, uint64_t);
    void *found = NULL;
    int status, code;
    if (!driver() || is_newer_than_driver(row))
        return NULL;
    if (!newer && !older) {
        *(void **)&newer = dlsym(driver(), "cuGetProcAddress_v2");
        *(void **)&older = dlsym(driver(), "cuGetProcAddress");
    }
    if (newer)
        code = newer(row->name, &found, row->version, (uint64_t)row->stream, &status);
    else
        code = older ? older(row->name, &found, row->version, (uint64_t)row->stream) : ABSENT;
    return code ? NULL : found;
}

static void *(*find)(const struct function *row);

bool choose_road(const char *name)
{
    static const struct {
        const char *name;
        void *(*find)(const struct function *row);
    } roads[] = {{"linked", by_link}, {"dlsym", by_dlsym}, {"procaddress", by_lookup}};
    for (size_t i = 0; i < sizeof(roads) / sizeof(*roads); i++)
        if (strcmp(roads[i].name, name) == 0)
            find = roads[i].find;
    return find != NULL;
}

void *driver_function(const char *symbol)
{
    const struct function *row = row_of(symbol);
    return row ? find(row) : NULL;
}

int driver_call(const char *function, unsigned count, const word *args)
{
    word a[12] = {0};
    int (*call)(word, word, word, word, word, word, word, word, word, word, word, word);
    *(void **)&call = driver_function(function);
    if (!call)
        return ABSENT;
    memcpy(a, args, (count < 12 ? count : 12) * sizeof(*a));
    return call(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
}
