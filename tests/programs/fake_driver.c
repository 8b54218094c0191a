/* fake_driver.c -- a driver (with -DNVML: an NVML) that does nothing but count its calls: one function per row of
 * hooks.def, in every spelling.  Its cuGetProcAddress follows the real driver's rules. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* These two do more than count: they are written out below. */
#define cuGetProcAddress    count_lookup
#define cuGetProcAddress_v2 count_lookup_v2

static unsigned long calls[
#define ROW(name) +1
#include "rows.h"
];

enum index {
#define ROW(name) INDEX_##name,
#include "rows.h"
};

#define ROW(name)                                                                                            \
    int name(void);                                                                                          \
    int name(void)                                                                                           \
    {                                                                                                        \
        calls[INDEX_##name]++;                                                                               \
        return 0;                                                                                            \
    }
#include "rows.h"

#undef cuGetProcAddress
#undef cuGetProcAddress_v2

static const char *const names[] = {
#define ROW(name) #name,
#include "rows.h"
};

static int index_of(const char *name)
{
    const int rows = sizeof names / sizeof *names;
    int index = 0;

    while (index < rows && strcmp(names[index], name) != 0)
        index++;
    return index < rows ? index : -1;
}

/* How often a function was called, by its exported name; 0 for one that does not exist. */
unsigned long fake_calls(const char *name);
unsigned long fake_calls(const char *name)
{
    int index = index_of(name);

    return index < 0 ? 0 : calls[index];
}

#ifndef NVML
int cuGetProcAddress(const char *base, void **function, int version, unsigned long long flags);
int cuGetProcAddress_v2(const char *base, void **function, int version, unsigned long long flags,
                        int *status);

enum { NOT_FOUND = 1, TOO_OLD = 2, PER_THREAD = 2 };

static void *const functions[] = {
#define ROW(name) (void *)name,
#include "rows.h"
};

/* With -DPRIVATE, what a lookup gives for any name but its own is a function that is not exported. */
#ifdef PRIVATE
static int private_function(void)
{
    return 0;
}

static void *answer(int index)
{
    return strncmp(names[index], "cuGetProcAddress", 16) == 0 ? functions[index] : (void *)private_function;
}
#else
static void *answer(int index)
{
    return functions[index];
}
#endif

/* The newest spelling that the asked-for version knows: here, numbered ones came with 3020 and later, and
 * cuGetProcAddress itself with 11030 and 12000. */
static int look_up(const char *base, void **function, int version, unsigned long long flags)
{
    static const char *const streams[] = {"_ptsz", "_ptds", ""};

    *function = NULL;
    if (strcmp(base, "cuGetProcAddress") == 0 && version < 11030)
        return TOO_OLD;
    for (int newest = version >= 3020 ? 4 : 1; newest > 0; newest--)
        for (int i = flags & PER_THREAD ? 0 : 2; i < 3; i++) {
            char name[128], number[8] = "";

            if (newest > 1)
                snprintf(number, sizeof number, "_v%d", newest);
            snprintf(name, sizeof name, "%s%s%s", base, number, streams[i]);
            if (strcmp(name, "cuGetProcAddress_v2") == 0 && version < 12000)
                continue;
            if (index_of(name) >= 0) {
                *function = answer(index_of(name));
                return 0;
            }
        }
    return NOT_FOUND;
}

int cuGetProcAddress(const char *base, void **function, int version, unsigned long long flags)
{
    count_lookup();
    return look_up(base, function, version, flags) ? 500 : 0;
}

int cuGetProcAddress_v2(const char *base, void **function, int version, unsigned long long flags, int *status)
{
    int result = look_up(base, function, version, flags);

    count_lookup_v2();
    if (status)
        *status = result;
    return 0;
}
#endif
