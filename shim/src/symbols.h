/* symbols.h -- what a loaded object exports, read from the object itself and not asked of the loader. */
#ifndef GS_SYMBOLS_H
#define GS_SYMBOLS_H

#include <link.h>

/* The address of an exported, default-version symbol of this object alone (not of what it needs), or NULL. */
void *gs_elf_symbol(ElfW(Addr) base, const ElfW(Dyn) * dynamic, const char *name);

/* DT_SONAME, or "". */
const char *gs_elf_soname(ElfW(Addr) base, const ElfW(Dyn) * dynamic);

#endif
