/* symbols.h -- what a loaded object exports, read from the object itself and not asked of the loader. */
#ifndef GS_SYMBOLS_H
#define GS_SYMBOLS_H

#include <link.h>

/* A program's first dlsym may come from a sanitizer that has only begun to start: what runs then must neither be
 * instrumented nor call anything that a sanitizer intercepts (most of the C library). */
#define GS_EARLY __attribute__((no_sanitize("address", "thread", "undefined")))

GS_EARLY int gs_is_same(const char *left, const char *right);

/* The address of an exported symbol of this object alone (not of what it needs), or NULL. */
GS_EARLY void *gs_elf_symbol(ElfW(Addr) base, const ElfW(Dyn) * dynamic, const char *name);

/* DT_SONAME, or "". */
GS_EARLY const char *gs_elf_soname(ElfW(Addr) base, const ElfW(Dyn) * dynamic);

#endif
