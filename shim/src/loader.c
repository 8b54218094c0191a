/* loader.c -- finds the C library's own dlsym, dlvsym and dlopen in its symbol table.
 *
 * Asking dlsym for dlsym would find ours, and dlvsym needs the version under which each C library has it. */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <string.h>

#include "symbols.h"
#include "loader.h"

static struct gs_loader loader;

/* Since glibc 2.34 the functions are in libc.so.6, before that in libdl.so.2. */
static int visit(struct dl_phdr_info *info, size_t size, void *data)
{
    struct gs_loader *found = data;
    const ElfW(Dyn) *dynamic = NULL;
    const char *soname;

    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    if (!dynamic)
        return 0;
    soname = gs_elf_soname(info->dlpi_addr, dynamic);
    if (strcmp(soname, "libc.so.6") != 0 && strcmp(soname, "libdl.so.2") != 0)
        return 0;
    found->dlsym = gs_elf_symbol(info->dlpi_addr, dynamic, "dlsym");
    found->dlvsym = gs_elf_symbol(info->dlpi_addr, dynamic, "dlvsym");
    found->dlopen = gs_elf_symbol(info->dlpi_addr, dynamic, "dlopen");
    return found->dlsym && found->dlvsym && found->dlopen;
}

/* Threads that race here all find the same, so each may store it. */
const struct gs_loader *gs_loader(void)
{
    if (!__atomic_load_n(&loader.dlsym, __ATOMIC_ACQUIRE)) {
        struct gs_loader found = {0};

        dl_iterate_phdr(visit, &found);
        __atomic_store_n(&loader.dlopen, found.dlopen, __ATOMIC_RELAXED);
        __atomic_store_n(&loader.dlvsym, found.dlvsym, __ATOMIC_RELAXED);
        __atomic_store_n(&loader.dlsym, found.dlsym, __ATOMIC_RELEASE); /* last: it says that all are there */
    }
    return &loader;
}
