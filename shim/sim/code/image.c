/* image.c -- module images of any kind: tells them apart and hands them to their parser. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

static const unsigned char ELF_MAGIC[4] = {0x7f, 'E', 'L', 'F'};

static void *grow(void *array, uint32_t count, size_t element)
{
    /* doubling at powers of two: amortised, and no second counter to keep */
    if ((count & (count - 1)) == 0) {
        array = realloc(array, (count ? 2 * (size_t)count : 1) * element);
        if (!array)
            return NULL;
    }
    memset((char *)array + count * element, 0, element);
    return array;
}

struct sim_entry *sim_image_add_entry(struct sim_image *image, const char *name, size_t length)
{
    struct sim_entry *grown = grow(image->entry, image->entry_count, sizeof(*grown));
    if (!grown)
        return NULL;
    image->entry = grown;
    struct sim_entry *entry = &grown[image->entry_count];
    entry->name = strndup(name, length);
    if (!entry->name)
        return NULL;
    image->entry_count++;
    return entry;
}

struct sim_param *sim_entry_add_param(struct sim_entry *entry, uint32_t offset, uint32_t bytes)
{
    struct sim_param *grown = grow(entry->param, entry->param_count, sizeof(*grown));
    if (!grown)
        return NULL;
    entry->param = grown;
    struct sim_param *param = &grown[entry->param_count++];
    param->offset = offset;
    param->bytes = bytes;
    if (offset + bytes > entry->param_bytes)
        entry->param_bytes = offset + bytes;
    return param;
}

struct sim_variable *sim_image_add_variable(struct sim_image *image, const char *name, size_t length)
{
    struct sim_variable *grown = grow(image->variable, image->variable_count, sizeof(*grown));
    if (!grown)
        return NULL;
    image->variable = grown;
    struct sim_variable *variable = &grown[image->variable_count];
    variable->name = strndup(name, length);
    if (!variable->name)
        return NULL;
    image->variable_count++;
    return variable;
}

const struct sim_entry *sim_image_entry(const struct sim_image *image, const char *name)
{
    for (uint32_t i = 0; i < image->entry_count; i++)
        if (strcmp(image->entry[i].name, name) == 0)
            return &image->entry[i];
    return NULL;
}

const struct sim_variable *sim_image_variable(const struct sim_image *image, const char *name)
{
    for (uint32_t i = 0; i < image->variable_count; i++)
        if (strcmp(image->variable[i].name, name) == 0)
            return &image->variable[i];
    return NULL;
}

void sim_image_free(struct sim_image *image)
{
    for (uint32_t i = 0; i < image->entry_count; i++) {
        free(image->entry[i].name);
        free(image->entry[i].param);
    }
    for (uint32_t i = 0; i < image->variable_count; i++) {
        free(image->variable[i].name);
        free(image->variable[i].owned_init);
    }
    free(image->entry);
    free(image->variable);
    free(image->copy);
    memset(image, 0, sizeof(*image));
}

size_t sim_image_size(const void *data)
{
    if (sim_fatbin_size(data))
        return sim_fatbin_size(data);
    if (memcmp(data, ELF_MAGIC, 4) != 0)
        return strlen(data) + 1;
    /* the section and program header tables end a cubin */
    uint64_t end = 0;
    const unsigned char *bytes = data;
    for (int table = 0; table < 2; table++) {
        uint64_t offset;
        uint16_t entry_size, count;
        memcpy(&offset, bytes + 32 + 8 * table, 8);
        memcpy(&entry_size, bytes + 54 + 4 * table, 2);
        memcpy(&count, bytes + 56 + 4 * table, 2);
        if (offset + (uint64_t)entry_size * count > end)
            end = offset + (uint64_t)entry_size * count;
    }
    return end > (1ull << 32) ? 0 : end;
}

/* A cubin runs on its own generation, at its own revision or a later one; PTX runs on anything newer. */
static bool runs_on(const struct sim_image *image, uint32_t arch)
{
    if (image->kind == SIM_IMAGE_PTX)
        return image->arch <= arch;
    return image->arch / 10 == arch / 10 && image->arch <= arch;
}

int sim_image_parse(const void *data, size_t size, uint32_t arch, struct sim_image *image)
{
    void *owned = NULL;
    memset(image, 0, sizeof(*image));
    if (sim_is_fatbin(data, size)) {
        int result = sim_fatbin_select(data, size, arch, &data, &size, &owned);
        if (result)
            return result;
    }
    int result = CUDA_ERROR_INVALID_IMAGE;
    if (size >= sizeof(ELF_MAGIC) && memcmp(data, ELF_MAGIC, sizeof(ELF_MAGIC)) == 0)
        result = sim_elf_parse(data, size, image);
    else if (size)
        result = sim_ptx_parse(data, size, image);
    free(owned);
    if (result == CUDA_SUCCESS && image->kind == SIM_IMAGE_PTX && image->isa > SIM_PTX_ISA_NEWEST)
        result = CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    if (result == CUDA_SUCCESS && !runs_on(image, arch))
        result = image->kind == SIM_IMAGE_PTX ? CUDA_ERROR_INVALID_PTX : CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (result)
        sim_image_free(image);
    return result;
}
