/* fatbin.c -- fat binaries: a container of cubins and PTX texts for several architectures, some compressed.
 */
#include "image.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "lz4.h"

#define FATBIN_MAGIC  0xba55ed50u
#define WRAPPER_MAGIC 0x466243b1u

#define ENTRY_PTX 1
#define ENTRY_ELF 2

#define FLAG_LZ4  0x2000u
#define FLAG_ZSTD 0x8000u

#define LARGEST_DECOMPRESSED (1ull << 30)

struct fatbin_header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size; /* of what follows the header */
};

struct wrapper {
    uint32_t magic, version;
    const void *data;
    const void *unused;
};

struct fatbin_entry {
    uint16_t kind, version;
    uint32_t header_size;
    uint64_t payload_size;
    uint32_t compressed_size, options_offset;
    uint16_t minor, major;
    uint32_t arch;
    uint32_t name_offset, name_size;
    uint64_t flags, reserved, decompressed_size;
};

static bool read_header(const void *data, size_t size, struct fatbin_header *header)
{
    if (size < sizeof(*header))
        return false;
    memcpy(header, data, sizeof(*header));
    return header->magic == FATBIN_MAGIC && header->header_size >= sizeof(*header);
}

const void *sim_fatbin_unwrap(const void *data)
{
    struct wrapper wrapper;
    uint32_t magic;
    memcpy(&magic, data, sizeof(magic));
    if (magic != WRAPPER_MAGIC)
        return data;
    memcpy(&wrapper, data, sizeof(wrapper));
    return wrapper.data ? wrapper.data : data;
}

bool sim_is_fatbin(const void *data, size_t size)
{
    uint32_t magic;
    if (size < sizeof(magic))
        return false;
    memcpy(&magic, data, sizeof(magic));
    return magic == FATBIN_MAGIC;
}

size_t sim_fatbin_size(const void *data)
{
    struct fatbin_header header;
    uint32_t magic;
    memcpy(&magic, data, sizeof(magic));
    if (magic != FATBIN_MAGIC || !read_header(data, sizeof(header), &header) || header.size > UINT32_MAX)
        return 0;
    return header.header_size + header.size;
}

/* 0: does not suit; else the better the higher. */
static uint32_t suits(const struct fatbin_entry *entry, uint32_t arch)
{
    if (entry->arch > arch)
        return 0;
    if (entry->kind == ENTRY_ELF && entry->arch / 10 == arch / 10)
        return 1000 + entry->arch;
    return entry->kind == ENTRY_PTX ? 1 + entry->arch : 0;
}

/* libzstd, where this machine has it: the simulator does not carry a decoder of its own. */
static size_t zstd_decompress(void *to, size_t to_size, const void *from, size_t from_size)
{
    size_t (*decompress)(void *, size_t, const void *, size_t) = NULL;
    void *library = dlopen("libzstd.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library)
        *(void **)&decompress = dlsym(library, "ZSTD_decompress");
    size_t size = decompress ? decompress(to, to_size, from, from_size) : 0;
    if (library)
        dlclose(library);
    return size;
}

static int decompress(const struct fatbin_entry *entry, const void *payload, const void **data, size_t *size,
                      void **owned)
{
    if (entry->decompressed_size > LARGEST_DECOMPRESSED || entry->compressed_size > entry->payload_size)
        return CUDA_ERROR_INVALID_IMAGE;
    *owned = malloc(entry->decompressed_size + 1);
    if (!*owned)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t made = entry->flags & FLAG_ZSTD
                      ? zstd_decompress(*owned, entry->decompressed_size, payload, entry->compressed_size)
                      : sim_lz4_decompress(*owned, entry->decompressed_size, payload, entry->compressed_size);
    if (made != entry->decompressed_size) {
        free(*owned);
        *owned = NULL;
        return CUDA_ERROR_INVALID_IMAGE;
    }
    *data = *owned;
    *size = entry->decompressed_size;
    return CUDA_SUCCESS;
}

int sim_fatbin_select(const void *fatbin, size_t fatbin_size, uint32_t arch, const void **data, size_t *size,
                      void **owned)
{
    struct fatbin_header header;
    if (!read_header(fatbin, fatbin_size, &header) || header.header_size > fatbin_size ||
        header.size > fatbin_size - header.header_size)
        return CUDA_ERROR_INVALID_IMAGE;

    const unsigned char *at = (const unsigned char *)fatbin + header.header_size, *end = at + header.size;
    const unsigned char *payload = NULL;
    struct fatbin_entry entry, chosen = {0};
    uint32_t best = 0;
    while ((size_t)(end - at) >= sizeof(entry)) {
        memcpy(&entry, at, sizeof(entry));
        if (entry.header_size < sizeof(entry) || entry.header_size > (size_t)(end - at) ||
            entry.payload_size > (size_t)(end - at) - entry.header_size)
            return CUDA_ERROR_INVALID_IMAGE;
        if (suits(&entry, arch) > best) {
            best = suits(&entry, arch);
            chosen = entry;
            payload = at + entry.header_size;
        }
        at += entry.header_size + entry.payload_size;
    }
    if (!payload)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (chosen.flags & (FLAG_LZ4 | FLAG_ZSTD))
        return decompress(&chosen, payload, data, size, owned);
    *data = payload;
    *size = chosen.payload_size;
    return CUDA_SUCCESS;
}
