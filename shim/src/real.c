/* real.c -- the real driver and NVML: loaded at the first call of a function of theirs, and never before.
 *
 * There is no lock.  Which object is the driver is decided by one compare-and-swap; all that follows from it
 * is the same in every thread, and each may store it.  So it does not matter who races, forks, or comes back
 * to here from a constructor of the library that is just being loaded.
 *
 * Another preloaded library may stand between us and a driver that the program is linked with, hooking the
 * same functions with RTLD_NEXT.  Then REAL() goes to that library, as the program's own call would have; and
 * what it looks up for itself is the driver's own, or its calls would come back to us for ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "symbols.h"
#include "hooks.h"
#include "loader.h"
#include "real.h"

/* Answers of a function that the library lacks, and of one whose library is not there at all. */
#define LACKS_CUDA  CUDA_ERROR_NOT_FOUND
#define LACKS_NVML  NVML_ERROR_FUNCTION_NOT_FOUND
#define ABSENT_CUDA CUDA_ERROR_NO_DEVICE
#define ABSENT_NVML NVML_ERROR_LIBRARY_NOT_FOUND

#define HOOK(library, class, name, params, args)                                                             \
    static gs_result_##library load_then_##name params                                                       \
    {                                                                                                        \
        return gs_load(GS_##library, NULL) ? REAL(name) args : ABSENT_##library;                             \
    }                                                                                                        \
    static gs_result_##library lacks_##name params                                                           \
    {                                                                                                        \
        return LACKS_##library;                                                                              \
    }
#define NEED HOOK
#include "hooks.def"

struct gs_real gs_real = {
#define HOOK(library, class, name, params, args) .name = load_then_##name,
#define NEED(library, class, name, params, args) .name = load_then_##name,
#include "hooks.def"
};

typedef void *function __attribute__((may_alias)); /* a pointer to a function of whatever type */

struct row {
    const char *name;
    void *hook; /* NULL: not hooked */
    function *real;
    void *lacks;
    void *address; /* the library's own function; NULL: it has none, or is not loaded */
    enum gs_library library;
};

static struct row rows[] = {
#define HOOK(library, class, name, params, args)                                                             \
    {#name, name, (function *)&gs_real.name, lacks_##name, NULL, GS_##library},
#define NEED(library, class, name, params, args)                                                             \
    {#name, NULL, (function *)&gs_real.name, lacks_##name, NULL, GS_##library},
#include "hooks.def"
};

#define END (rows + sizeof rows / sizeof *rows)

static struct library {
    const char *file;
    const char *variable;    /* names another file, for tests; NULL: none */
    const char *markers[2];  /* who exports one of these is such a library */
    struct link_map *object; /* the one that was chosen; never unloaded */
    int is_ready;
} libraries[GS_LIBRARIES] = {
    [GS_CUDA] = {.file = "libcuda.so.1",
                 .variable = "GSHARE_LIBCUDA",
                 .markers = {"cuGetProcAddress_v2", "cuGetExportTable"}}, /* the first one since CUDA 12.0 */
    [GS_NVML] = {.file = "libnvidia-ml.so.1", .markers = {"nvmlInit_v2", "nvmlInitWithFlags"}},
};

static void *symbol_of(const struct link_map *object, const char *name)
{
    return gs_elf_symbol(object->l_addr, object->l_ld, name);
}

/* We export what marks a driver, too. */
int gs_is_library(enum gs_library id, const struct link_map *object)
{
    const char *const *markers = libraries[id].markers;

    return (symbol_of(object, markers[0]) || symbol_of(object, markers[1])) &&
           object != gs_object_of(libraries);
}

const struct link_map *gs_object_of(const void *address)
{
    struct link_map *object = NULL;
    Dl_info info;

    return dladdr1(address, &info, (void **)&object, RTLD_DL_LINKMAP) ? object : NULL;
}

/* A file may stand for another one that it needs (libcuda.so for libcuda.so.1): what counts is the object in
 * which the functions are. */
static struct link_map *open_library(enum gs_library id, const char *path)
{
    const struct gs_loader *loader = gs_loader();
    void *handle = path && *path ? loader->dlopen(path, RTLD_LAZY) : NULL;
    void *marker = NULL;

    for (int i = 0; handle && !marker && i < 2; i++)
        marker = loader->dlsym(handle, libraries[id].markers[i]);
    return marker ? (struct link_map *)gs_object_of(marker) : NULL;
}

static struct link_map *choose(enum gs_library id, const struct link_map *found)
{
    struct library *library = &libraries[id];
    const char *variable = library->variable ? getenv(library->variable) : NULL;
    struct link_map *object, *first = NULL;

    if (variable)
        object = open_library(id, variable);
    else if (!found || !(object = open_library(id, found->l_name)))
        object = open_library(id, library->file);
    dlerror(); /* what went wrong here is not the program's business */
    if (!object ||
        __atomic_compare_exchange_n(&library->object, &first, object, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return object;
    return first;
}

/* Whether the program's own calls could reach this object by linkage, past us and whoever else is preloaded.
 */
static int is_linked(const struct library *library)
{
    int linked = 0;

    for (int i = 0; i < 2; i++) {
        void *marker = symbol_of(library->object, library->markers[i]);

        linked |= marker && gs_loader()->dlsym(RTLD_NEXT, library->markers[i]) == marker;
    }
    dlerror();
    return linked;
}

static void fill_rows(enum gs_library id)
{
    const struct library *library = &libraries[id];
    const int linked = is_linked(library);

    for (struct row *row = rows; row < END; row++) {
        void *real;

        if (row->library != id)
            continue;
        real = symbol_of(library->object, row->name);
        __atomic_store_n(&row->address, real, __ATOMIC_RELAXED);
        if (real && row->hook && linked)
            real = gs_loader()->dlsym(RTLD_NEXT, row->name);
        __atomic_store_n(row->real, real ? real : row->lacks, __ATOMIC_RELAXED);
    }
}

int gs_load(enum gs_library id, const struct link_map *found)
{
    struct library *library = &libraries[id];

    if (__atomic_load_n(&library->is_ready, __ATOMIC_ACQUIRE))
        return 1;
    if (!__atomic_load_n(&library->object, __ATOMIC_ACQUIRE) && !choose(id, found))
        return 0;
    fill_rows(id);
    __atomic_store_n(&library->is_ready, 1, __ATOMIC_RELEASE);
    return 1;
}

static int is_chained(const struct row *row)
{
    return __atomic_load_n(row->real, __ATOMIC_RELAXED) != row->address;
}

/* The caller is the preloaded library that this row's REAL() goes to. */
static int is_next_in_chain(const struct row *row, const void *caller)
{
    return row->address && is_chained(row) && gs_object_of(*row->real) == gs_object_of(caller);
}

void *gs_replace_by_name(enum gs_library id, const struct link_map *object, const char *name, void *function,
                         const void *caller)
{
    const struct row *row = rows;

    while (row < END && strcmp(row->name, name) != 0)
        row++;
    if (!gs_load(id, object))
        return function;
    if (object != libraries[id].object)
        function = gs_loader()->dlsym(libraries[id].object, name);
    if (function && row < END && row->hook && !is_next_in_chain(row, caller))
        return row->hook;
    return function;
}

void *gs_replace_by_address(void *function, const void *caller)
{
    for (const struct row *row = rows; function && row < END; row++)
        if (row->hook && (function == row->address || function == *row->real))
            return is_next_in_chain(row, caller) ? function : row->hook;
    return function;
}
