/* loader.c -- finds the C library's own dlsym, dlvsym and dlopen in its symbol table.
 *
 * Asking dlsym for dlsym would find ours, and dlvsym needs the version under which each C library has it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>

#include "loader.h"
#include "symbols.h"

static struct gs_loader loader;

/* Since glibc 2.34 the functions are in libc.so.6, before that in libdl.so.2.  Both are loaded with the program and
 * stay, so nobody changes the part of the list that is read here. */
GS_EARLY static struct gs_loader find(void)
{
    struct gs_loader found = {0};
    struct link_map *object = NULL;
    Dl_info info;

    dladdr1(&loader, &info, (void **)&object, RTLD_DL_LINKMAP);
    while (object && object->l_prev)
        object = object->l_prev;
    for (; object && !found.dlopen; object = object->l_next) {
        const char *soname = gs_elf_soname(object->l_addr, object->l_ld);

        if (!gs_is_same(soname, "libc.so.6") && !gs_is_same(soname, "libdl.so.2"))
            continue;
        found.dlsym = gs_elf_symbol(object->l_addr, object->l_ld, "dlsym");
        found.dlvsym = gs_elf_symbol(object->l_addr, object->l_ld, "dlvsym");
        found.dlopen = gs_elf_symbol(object->l_addr, object->l_ld, "dlopen");
    }
    return found;
}

/* Threads that race here all find the same, so each may store it. */
GS_EARLY const struct gs_loader *gs_loader(void)
{
    if (!__atomic_load_n(&loader.dlsym, __ATOMIC_ACQUIRE)) {
        const struct gs_loader found = find();

        __atomic_store_n(&loader.dlopen, found.dlopen, __ATOMIC_RELAXED);
        __atomic_store_n(&loader.dlvsym, found.dlvsym, __ATOMIC_RELAXED);
        __atomic_store_n(&loader.dlsym, found.dlsym, __ATOMIC_RELEASE); /* last: it says that all are there */
    }
    return &loader;
}
