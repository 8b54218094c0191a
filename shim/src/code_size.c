/* code_size.c -- tells PTX, cubins and fat binaries apart, and sums up what each will take.
 *
 * A cubin takes no more than its file has, and its variables: what the file says of them, at the grain that each is
 * placed at.  Of a fat binary one part is loaded, so the largest one counts.  Of a part that is compressed only the
 * length is known: zeroed variables in it are not seen, and are the one thing here that the bound may miss. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "code_size.h"

#define MACHINE_CUDA 190

/* What is none of these, though it says so; the driver will most likely refuse it. */
#define UNKNOWN_BYTES (2ull << 20)

#define FATBIN_MAGIC  0xba55ed50u
#define WRAPPER_MAGIC 0x466243b1u
#define ELF_MAGIC     0x464c457fu
#define FATBIN_PTX    1
#define FATBIN_PACKED 0xa000u /* LZ4 or ZSTD */

struct wrapper {
    uint32_t magic, version;
    const void *fatbin;
    const void *unused;
};

struct fatbin {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes; /* behind the header */
};

struct part {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
    uint32_t packed_bytes, options;
    uint16_t minor, major;
    uint32_t arch, name, name_bytes;
    uint64_t flags, reserved, unpacked_bytes;
};

/* -------- cubins -------- */

#define LONGEST ((uint64_t)UINT32_MAX)

struct cubin {
    const unsigned char *bytes;
    uint64_t length; /* nothing is read beyond */
    uint64_t sections;
    Elf64_Ehdr header;
    Elf64_Shdr names;
};

static int inside(const struct cubin *cubin, uint64_t offset, uint64_t length)
{
    return offset <= cubin->length && length <= cubin->length - offset;
}

static int section(const struct cubin *cubin, uint64_t index, Elf64_Shdr *section)
{
    uint64_t offset = cubin->header.e_shoff + index * sizeof *section;

    if (!inside(cubin, offset, sizeof *section))
        return 0;
    memcpy(section, cubin->bytes + offset, sizeof *section);
    return 1;
}

/* Whether the section's name begins so. */
static int is_named(const struct cubin *cubin, const Elf64_Shdr *section, const char *prefix)
{
    uint64_t length = strlen(prefix);

    return inside(cubin, cubin->names.sh_offset, cubin->names.sh_size) &&
           section->sh_name <= cubin->names.sh_size && length <= cubin->names.sh_size - section->sh_name &&
           !memcmp(cubin->bytes + cubin->names.sh_offset + section->sh_name, prefix, length);
}

static uint64_t variables_of(const struct cubin *cubin, const Elf64_Shdr *symbols)
{
    uint64_t count =
        inside(cubin, symbols->sh_offset, symbols->sh_size) ? symbols->sh_size / sizeof(Elf64_Sym) : 0;
    uint64_t variables = 0;

    for (uint64_t i = 0; i < count; i++) {
        Elf64_Sym symbol;

        memcpy(&symbol, cubin->bytes + symbols->sh_offset + i * sizeof symbol, sizeof symbol);
        variables += ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT;
    }
    return variables;
}

/* Its length, told by its tables of sections and segments, which end it; 0: it is none.  Past 65,279 sections their
 * number, and which one has the names, is in the first one. */
static uint64_t open_cubin(struct cubin *cubin)
{
    Elf64_Ehdr *header = &cubin->header;
    Elf64_Shdr first;
    uint64_t end;

    memcpy(header, cubin->bytes, sizeof *header);
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != MACHINE_CUDA ||
        header->e_shentsize != sizeof first || header->e_shoff > LONGEST || header->e_phoff > LONGEST ||
        !section(cubin, 0, &first))
        return 0;
    cubin->sections = header->e_shnum ? header->e_shnum : first.sh_size;
    end = gs_larger(gs_plus(header->e_shoff, gs_times(cubin->sections, sizeof first)),
                    header->e_phoff + (uint64_t)header->e_phnum * header->e_phentsize);
    if (!inside(cubin, 0, end) ||
        !section(cubin, header->e_shstrndx == SHN_XINDEX ? first.sh_link : header->e_shstrndx, &cubin->names))
        return 0;
    return end;
}

/* `length` is LONGEST where only the image itself tells. */
static uint64_t size_of_cubin(const void *image, uint64_t length)
{
    struct cubin cubin = {.bytes = image, .length = length};
    uint64_t end = open_cubin(&cubin), bytes;
    Elf64_Shdr at;

    if (!end)
        return UNKNOWN_BYTES;
    cubin.length = bytes = length == LONGEST ? end : length;
    for (uint64_t i = 1; i < cubin.sections && section(&cubin, i, &at); i++) {
        if (at.sh_type == SHT_SYMTAB)
            bytes = gs_plus(bytes, GS_VARIABLE_GRAIN * variables_of(&cubin, &at));
        else if (is_named(&cubin, &at, ".nv.global") || is_named(&cubin, &at, ".nv.constant"))
            bytes = gs_plus(bytes, at.sh_size);
    }
    return bytes;
}

/* -------- fat binaries, and any of them -------- */

static uint64_t size_of_part(const struct part *part, const unsigned char *content)
{
    if (part->flags & FATBIN_PACKED) {
        uint64_t bytes = gs_larger(part->unpacked_bytes, part->bytes); /* the former may not be told */

        return bytes > LONGEST ? UNKNOWN_BYTES : bytes * (part->kind == FATBIN_PTX ? GS_CODE_PER_TEXT : 2);
    }
    if (part->kind == FATBIN_PTX)
        return gs_code_size_of_ptx((const char *)content, part->bytes);
    return part->bytes < sizeof(Elf64_Ehdr) ? part->bytes : size_of_cubin(content, part->bytes);
}

static uint64_t size_of_fatbin(const unsigned char *image, uint64_t length)
{
    struct fatbin header;
    const unsigned char *at, *end;
    uint64_t largest = 0;
    struct part part;

    memcpy(&header, image, sizeof header);
    if (header.header_bytes < sizeof header || header.header_bytes > length ||
        header.bytes > length - header.header_bytes)
        return UNKNOWN_BYTES;
    at = image + header.header_bytes;
    end = at + header.bytes;
    while ((size_t)(end - at) >= sizeof part) {
        memcpy(&part, at, sizeof part);
        if (part.header_bytes < sizeof part || part.header_bytes > (size_t)(end - at) ||
            part.bytes > (size_t)(end - at) - part.header_bytes)
            break;
        largest = gs_larger(largest, size_of_part(&part, at + part.header_bytes));
        at += part.header_bytes + part.bytes;
    }
    return largest;
}

/* Byte by byte: a text may end before. */
static int begins(const void *image, uint32_t magic)
{
    const unsigned char *bytes = image;
    int at = 0;

    while (at < 4 && bytes[at] == (unsigned char)(magic >> 8 * at))
        at++;
    return at == 4;
}

uint64_t gs_code_size(const void *image)
{
    struct wrapper wrapper;

    if (begins(image, FATBIN_MAGIC))
        return size_of_fatbin(image, LONGEST);
    if (begins(image, ELF_MAGIC))
        return size_of_cubin(image, LONGEST);
    if (!begins(image, WRAPPER_MAGIC))
        return gs_code_size_of_ptx(image, strlen(image));
    memcpy(&wrapper, image, sizeof wrapper);
    return begins(wrapper.fatbin, FATBIN_MAGIC) ? size_of_fatbin(wrapper.fatbin, LONGEST) : UNKNOWN_BYTES;
}

/* A copy: the file itself, mapped, would end the program if somebody made it shorter. */
static uint64_t size_of_copy(int file, uint64_t length)
{
    unsigned char *copy = mmap(NULL, length + sizeof(Elf64_Ehdr), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* ends in zeros, as a text must */
    uint64_t got = 0, bytes;
    ssize_t more = 1;

    if (copy == MAP_FAILED)
        return UNKNOWN_BYTES;
    while (got < length && more > 0) {
        more = read(file, copy + got, length - got);
        got += more > 0 ? (uint64_t)more : 0;
    }
    if (got >= sizeof(Elf64_Ehdr) && begins(copy, ELF_MAGIC))
        bytes = size_of_cubin(copy, got);
    else if (got >= sizeof(struct fatbin) && begins(copy, FATBIN_MAGIC))
        bytes = size_of_fatbin(copy, got);
    else
        bytes = gs_code_size_of_ptx((char *)copy, strlen((char *)copy));
    munmap(copy, length + sizeof(Elf64_Ehdr));
    return bytes;
}

uint64_t gs_code_size_of_file(const char *path)
{
    int error = errno, file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint64_t bytes = 0;
    off_t length;

    if (file >= 0) {
        length = lseek(file, 0, SEEK_END);
        if (length > 0 && (uint64_t)length < LONGEST && lseek(file, 0, SEEK_SET) == 0)
            bytes = size_of_copy(file, (uint64_t)length);
        else if (length != 0)
            bytes = UNKNOWN_BYTES;
        close(file);
    }
    errno = error;
    return bytes;
}
