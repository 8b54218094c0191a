/* elf.c -- what a cubin holds: kernels, their parameters and needs, and variables.
 *
 * A kernel K is a function symbol marked as entry in section .text.K; .nv.info.K lists its parameters,
 * .nv.info its registers and stack by symbol.  Every offset is checked: the image may be anything. */
#include "image.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define MACHINE_CUDA  190
#define SYMBOL_ENTRY  0x10 /* in st_other */
#define ABI_ARCH_HIGH 8    /* from this ABI version on, the architecture is in the second byte of e_flags */

/* .nv.info: records of (format, attribute, 16 bits); format 4 has that many bytes behind it. */
/* What the system keeps of a block's shared memory; the section has it from this architecture on, the kernel's
 * attribute does not. */
#define RESERVED_SHARED_BYTES 1024
#define FIRST_WITH_RESERVED   90

#define FORMAT_BYTES     4
#define ATTR_MAX_THREADS 0x05
#define ATTR_FRAME_SIZE  0x11
#define ATTR_PARAM       0x17
#define ATTR_REGISTERS   0x2f

struct reader {
    const unsigned char *bytes;
    size_t size;
    Elf64_Ehdr header;
    const char *names; /* of sections */
    uint64_t names_size;
};

static bool inside(const struct reader *r, uint64_t offset, uint64_t length)
{
    return offset <= r->size && length <= r->size - offset;
}

static bool section(const struct reader *r, uint32_t index, Elf64_Shdr *out)
{
    if (index >= r->header.e_shnum)
        return false;
    uint64_t offset = r->header.e_shoff + (uint64_t)index * sizeof(*out);
    if (!inside(r, offset, sizeof(*out)))
        return false;
    memcpy(out, r->bytes + offset, sizeof(*out));
    return out->sh_type == SHT_NOBITS || inside(r, out->sh_offset, out->sh_size);
}

/* A string of a table, or NULL when it does not end inside it. */
static const char *string(const char *table, uint64_t table_size, uint64_t offset)
{
    return offset < table_size && memchr(table + offset, 0, table_size - offset) ? table + offset : NULL;
}

static const char *section_name(const struct reader *r, const Elf64_Shdr *header)
{
    const char *name = string(r->names, r->names_size, header->sh_name);
    return name ? name : "";
}

static bool open_image(struct reader *r, const void *data, size_t size)
{
    r->bytes = data;
    r->size = size;
    if (size < sizeof(r->header))
        return false;
    memcpy(&r->header, data, sizeof(r->header));
    const Elf64_Ehdr *h = &r->header;
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
        h->e_machine != MACHINE_CUDA || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shoff > size)
        return false;
    Elf64_Shdr names;
    if (!section(r, h->e_shstrndx, &names) || names.sh_type != SHT_STRTAB)
        return false;
    r->names = (const char *)r->bytes + names.sh_offset;
    r->names_size = names.sh_size;
    return true;
}

static uint32_t read32(const unsigned char *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint32_t read16(const unsigned char *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* Calls `each` for every record of an .nv.info section that carries bytes. */
static int each_attribute(const struct reader *r, const Elf64_Shdr *info, void *context,
                          int (*each)(void *context, uint32_t attribute, const unsigned char *bytes,
                                      uint32_t length))
{
    const unsigned char *at = r->bytes + info->sh_offset;
    const unsigned char *end = at + info->sh_size;
    while (end - at >= 4) {
        uint32_t format = at[0], attribute = at[1], length = read16(at + 2);
        at += 4;
        if (format != FORMAT_BYTES)
            continue;
        if ((size_t)(end - at) < length)
            return CUDA_ERROR_INVALID_IMAGE;
        int result = each(context, attribute, at, length);
        if (result)
            return result;
        at += length;
    }
    return CUDA_SUCCESS;
}

static int entry_attribute(void *context, uint32_t attribute, const unsigned char *bytes, uint32_t length)
{
    struct sim_entry *entry = context;
    if (attribute == ATTR_PARAM && length >= 12) {
        /* index, ordinal : 16, offset : 16, then the size from bit 18 on */
        uint32_t ordinal = read16(bytes + 4), offset = read16(bytes + 6), size = read32(bytes + 8) >> 18;
        if (ordinal >= SIM_MAX_PARAM_BYTES || offset + size > SIM_MAX_PARAM_BYTES)
            return CUDA_ERROR_INVALID_IMAGE;
        while (entry->param_count <= ordinal)
            if (!sim_entry_add_param(entry, 0, 0))
                return CUDA_ERROR_OUT_OF_MEMORY;
        entry->param[ordinal] = (struct sim_param){offset, size};
        if (offset + size > entry->param_bytes)
            entry->param_bytes = offset + size;
    } else if (attribute == ATTR_MAX_THREADS && length >= 12) {
        uint64_t threads = (uint64_t)read32(bytes) * read32(bytes + 4);
        threads = threads <= UINT32_MAX ? threads * read32(bytes + 8) : threads;
        entry->max_threads = threads > UINT32_MAX ? UINT32_MAX : (uint32_t)threads;
    }
    return CUDA_SUCCESS;
}

struct symbol_table {
    const struct reader *reader;
    struct sim_image *image;
    Elf64_Shdr header, strings;
};

static bool symbol(const struct symbol_table *t, uint64_t index, Elf64_Sym *out, const char **name)
{
    if (index >= t->header.sh_size / sizeof(*out))
        return false;
    memcpy(out, t->reader->bytes + t->header.sh_offset + index * sizeof(*out), sizeof(*out));
    *name = string((const char *)t->reader->bytes + t->strings.sh_offset, t->strings.sh_size, out->st_name);
    return *name != NULL;
}

static int image_attribute(void *context, uint32_t attribute, const unsigned char *bytes, uint32_t length)
{
    const struct symbol_table *t = context;
    Elf64_Sym sym;
    const char *name;
    if ((attribute != ATTR_REGISTERS && attribute != ATTR_FRAME_SIZE) || length < 8 ||
        !symbol(t, read32(bytes), &sym, &name))
        return CUDA_SUCCESS;
    struct sim_entry *entry = (struct sim_entry *)sim_image_entry(t->image, name);
    if (!entry)
        return CUDA_SUCCESS; /* a device function */
    if (attribute == ATTR_REGISTERS)
        entry->registers = read32(bytes + 4);
    else
        entry->local_bytes = read32(bytes + 4);
    return CUDA_SUCCESS;
}

/* Constant banks are sections .nv.constant<bank>, with the kernel's name behind a dot where they are its own; bank 0
 * carries the parameters. */
static bool is_constant_of(const char *section_of, const char *name)
{
    static const char prefix[] = ".nv.constant";
    if (strncmp(section_of, prefix, sizeof(prefix) - 1) != 0)
        return false;
    const char *bank = section_of + sizeof(prefix) - 1;
    size_t digits = strspn(bank, "0123456789");
    if (digits == 0 || strtoul(bank, NULL, 10) == 0)
        return false;
    return !bank[digits] || (bank[digits] == '.' && strcmp(bank + digits + 1, name) == 0);
}

static int add_entry(const struct symbol_table *t, const char *name)
{
    const struct reader *r = t->reader;
    struct sim_entry *entry = sim_image_add_entry(t->image, name, strlen(name));
    if (!entry)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 1; i < r->header.e_shnum; i++) {
        Elf64_Shdr header;
        if (!section(r, i, &header))
            return CUDA_ERROR_INVALID_IMAGE;
        const char *section_of = section_name(r, &header);
        if (strncmp(section_of, ".nv.info.", 9) == 0 && strcmp(section_of + 9, name) == 0) {
            int result = header.sh_type == SHT_NOBITS ? CUDA_ERROR_INVALID_IMAGE
                                                      : each_attribute(r, &header, entry, entry_attribute);
            if (result)
                return result;
        } else if (strncmp(section_of, ".nv.shared.", 11) == 0 && strcmp(section_of + 11, name) == 0) {
            uint32_t reserved = t->image->arch >= FIRST_WITH_RESERVED ? RESERVED_SHARED_BYTES : 0;
            entry->shared_bytes = (uint32_t)header.sh_size;
            entry->shared_bytes -= entry->shared_bytes < reserved ? entry->shared_bytes : reserved;
        } else if (is_constant_of(section_of, name)) {
            entry->const_bytes += (uint32_t)header.sh_size;
        }
    }
    return CUDA_SUCCESS;
}

/* Variables live in sections .nv.global (zeros), .nv.global.init and .nv.constant3; each gets its own place.
 */
static int add_variable(const struct symbol_table *t, const Elf64_Sym *sym, const char *name)
{
    Elf64_Shdr home;
    if (!section(t->reader, sym->st_shndx, &home))
        return CUDA_ERROR_INVALID_IMAGE;
    const char *section_of = section_name(t->reader, &home);
    bool known = strcmp(section_of, ".nv.global") == 0 || strcmp(section_of, ".nv.global.init") == 0 ||
                 strcmp(section_of, ".nv.constant3") == 0;
    if (!known)
        return CUDA_SUCCESS;
    if (sym->st_value > home.sh_size || sym->st_size > home.sh_size - sym->st_value)
        return CUDA_ERROR_INVALID_IMAGE;
    struct sim_variable *variable = sim_image_add_variable(t->image, name, strlen(name));
    if (!variable)
        return CUDA_ERROR_OUT_OF_MEMORY;
    variable->offset = (t->image->variable_bytes + 255) & ~255ull;
    variable->size = sym->st_size;
    t->image->variable_bytes = variable->offset + sym->st_size;
    if (home.sh_type != SHT_NOBITS) {
        variable->init = (const char *)t->image->copy + home.sh_offset + sym->st_value;
        variable->init_bytes = sym->st_size;
    }
    return CUDA_SUCCESS;
}

static int add_symbols(const struct symbol_table *t)
{
    Elf64_Sym sym;
    const char *name;
    for (uint64_t i = 1; i < t->header.sh_size / sizeof(sym); i++) {
        if (!symbol(t, i, &sym, &name))
            return CUDA_ERROR_INVALID_IMAGE;
        int result = CUDA_SUCCESS;
        if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC && sym.st_other & SYMBOL_ENTRY &&
            sym.st_shndx != SHN_UNDEF)
            result = add_entry(t, name);
        else if (ELF64_ST_TYPE(sym.st_info) == STT_OBJECT && sym.st_shndx != SHN_UNDEF)
            result = add_variable(t, &sym, name);
        if (result)
            return result;
    }
    return CUDA_SUCCESS;
}

int sim_elf_parse(const void *data, size_t size, struct sim_image *image)
{
    struct reader r = {0};
    if (!open_image(&r, data, size))
        return CUDA_ERROR_INVALID_IMAGE;
    image->kind = SIM_IMAGE_CUBIN;
    image->code_bytes = size;
    image->arch = r.header.e_ident[EI_ABIVERSION] >= ABI_ARCH_HIGH ? r.header.e_flags >> 8 & 0xff
                                                                   : r.header.e_flags & 0xff;
    image->copy = malloc(size);
    if (!image->copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(image->copy, data, size);

    struct symbol_table table = {.reader = &r, .image = image};
    Elf64_Shdr header, info = {0};
    for (uint32_t i = 1; i < r.header.e_shnum; i++) {
        if (!section(&r, i, &header))
            return CUDA_ERROR_INVALID_IMAGE;
        if (header.sh_type == SHT_SYMTAB)
            table.header = header;
        else if (strcmp(section_name(&r, &header), ".nv.info") == 0 && header.sh_type != SHT_NOBITS)
            info = header;
    }
    if (table.header.sh_type != SHT_SYMTAB || !section(&r, table.header.sh_link, &table.strings) ||
        table.strings.sh_type != SHT_STRTAB)
        return CUDA_ERROR_INVALID_IMAGE;
    int result = add_symbols(&table);
    if (result == CUDA_SUCCESS && info.sh_size)
        result = each_attribute(&r, &info, &table, image_attribute);
    return result;
}
