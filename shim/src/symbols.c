/* symbols.c -- finds a symbol in one loaded object through that object's own hash table.
 *
 * Needed where the loader cannot be asked: to find the C library's dlsym, which we hide, and to tell what one
 * object exports apart from what it needs. */
#include <stddef.h>
#include <stdint.h>

#include "symbols.h"

struct tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *gnu_hash;
    const uint32_t *sysv_hash;
    size_t soname; /* offset in strings; 0: none */
};

GS_EARLY int gs_is_same(const char *left, const char *right)
{
    while (*left && *left == *right)
        left++, right++;
    return *left == *right;
}

/* glibc has made most objects' pointers absolute, but not all (the vdso's stay offsets). */
GS_EARLY static const void *address(ElfW(Addr) base, ElfW(Addr) value)
{
    return (const void *)(value < base ? base + value : value);
}

GS_EARLY static struct tables read_tables(ElfW(Addr) base, const ElfW(Dyn) * dynamic)
{
    struct tables tables = {0};

    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const void *at = address(base, dynamic->d_un.d_ptr);

        switch (dynamic->d_tag) {
        case DT_SYMTAB:
            tables.symbols = at;
            break;
        case DT_STRTAB:
            tables.strings = at;
            break;
        case DT_GNU_HASH:
            tables.gnu_hash = at;
            break;
        case DT_HASH:
            tables.sysv_hash = at;
            break;
        case DT_SONAME:
            tables.soname = dynamic->d_un.d_val;
            break;
        default:
            break;
        }
    }
    return tables;
}

GS_EARLY static int is_it(const struct tables *tables, uint32_t index, const char *name)
{
    const ElfW(Sym) *symbol = &tables->symbols[index];

    return symbol->st_shndx != SHN_UNDEF && symbol->st_value &&
           gs_is_same(tables->strings + symbol->st_name, name);
}

GS_EARLY static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;

    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* 0 (the undefined symbol) when there is none. */
GS_EARLY static uint32_t find_by_gnu_hash(const struct tables *tables, const char *name)
{
    const uint32_t buckets = tables->gnu_hash[0];
    const uint32_t first = tables->gnu_hash[1];
    const uint32_t bloom_words = tables->gnu_hash[2];
    const uint32_t *bucket = tables->gnu_hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = bucket + buckets;
    const uint32_t hash = gnu_hash(name);
    uint32_t index = buckets ? bucket[hash % buckets] : 0;

    if (index < first)
        return 0;
    for (;; index++) {
        uint32_t entry = chain[index - first];

        if ((entry | 1) == (hash | 1) && is_it(tables, index, name))
            return index;
        if (entry & 1)
            return 0;
    }
}

GS_EARLY static uint32_t find_by_sysv_hash(const struct tables *tables, const char *name)
{
    const uint32_t symbols = tables->sysv_hash[1]; /* the chain has one entry per symbol */

    for (uint32_t index = 1; index < symbols; index++)
        if (is_it(tables, index, name))
            return index;
    return 0;
}

GS_EARLY void *gs_elf_symbol(ElfW(Addr) base, const ElfW(Dyn) * dynamic, const char *name)
{
    const struct tables tables = read_tables(base, dynamic);
    uint32_t index = 0;

    if (!tables.symbols || !tables.strings)
        return NULL;
    if (tables.gnu_hash)
        index = find_by_gnu_hash(&tables, name);
    else if (tables.sysv_hash)
        index = find_by_sysv_hash(&tables, name);
    return index ? (void *)(base + tables.symbols[index].st_value) : NULL;
}

GS_EARLY const char *gs_elf_soname(ElfW(Addr) base, const ElfW(Dyn) * dynamic)
{
    const struct tables tables = read_tables(base, dynamic);

    return tables.strings && tables.soname ? tables.strings + tables.soname : "";
}
