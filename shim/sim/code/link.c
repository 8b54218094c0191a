/* link.c -- cuLink: the one image that was added is the result; nothing is compiled or joined. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_CUBIN, INPUT_PTX, INPUT_FATBINARY, INPUTS = 7 };

struct sim_link {
    uint32_t magic;
    void *data; /* the first image that was added */
    size_t size;
    unsigned added;
};

typedef struct sim_link *CUlinkState;

static CUresult add(CUlinkState link, int type, const void *data, size_t size)
{
    if (!sim_is(link, SIM_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!data || !size || type < 0 || type >= INPUTS)
        return CUDA_ERROR_INVALID_VALUE;
    if (type > INPUT_FATBINARY)
        return CUDA_ERROR_NOT_SUPPORTED; /* objects and libraries would need a linker */
    struct sim_context *ctx = sim_current_context();
    struct sim_image image;
    if (!ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    SIM_TRY(sim_image_parse(data, size, sim_context_arch(ctx), &image));
    sim_image_free(&image);
    if (link->added++)
        return CUDA_ERROR_NOT_SUPPORTED; /* so would two images */
    link->data = malloc(size + 1);
    if (!link->data)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(link->data, data, size);
    ((char *)link->data)[size] = 0; /* PTX may come without its end */
    link->size = size;
    return CUDA_SUCCESS;
}

static CUresult create(unsigned count, const int *option, void **value, CUlinkState *out)
{
    if (!out || (count && (!option || !value)))
        return CUDA_ERROR_INVALID_VALUE;
    *out = sim_object_new(SIM_LINK, sizeof(**out));
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult add_file(CUlinkState link, int type, const char *path)
{
    void *data;
    size_t size;
    if (!sim_is(link, SIM_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_read_file(path, &data, &size));
    CUresult result = add(link, type, data, size);
    free(data);
    return result;
}

#define OPTIONS unsigned count, int *option, void **value

SIM_API(cuLinkCreate, (OPTIONS, CUlinkState *link))
{
    SIM_ENTER_CONTEXT(cuLinkCreate, ctx);
    return create(count, option, value, link);
}

SIM_API(cuLinkCreate_v2, (OPTIONS, CUlinkState *link))
{
    SIM_ENTER_CONTEXT(cuLinkCreate_v2, ctx);
    return create(count, option, value, link);
}

SIM_API(cuLinkAddData, (CUlinkState link, int type, void *data, size_t size, const char *name, OPTIONS))
{
    SIM_ENTER(cuLinkAddData);
    return add(link, type, data, size);
}

SIM_API(cuLinkAddData_v2, (CUlinkState link, int type, void *data, size_t size, const char *name, OPTIONS))
{
    SIM_ENTER(cuLinkAddData_v2);
    return add(link, type, data, size);
}

SIM_API(cuLinkAddFile, (CUlinkState link, int type, const char *path, OPTIONS))
{
    SIM_ENTER(cuLinkAddFile);
    return add_file(link, type, path);
}

SIM_API(cuLinkAddFile_v2, (CUlinkState link, int type, const char *path, OPTIONS))
{
    SIM_ENTER(cuLinkAddFile_v2);
    return add_file(link, type, path);
}

/* The result belongs to the link. */
SIM_API(cuLinkComplete, (CUlinkState link, void **image, size_t *size))
{
    SIM_ENTER(cuLinkComplete);
    if (!sim_is(link, SIM_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!image || !link->data)
        return CUDA_ERROR_INVALID_VALUE;
    *image = link->data;
    if (size)
        *size = link->size;
    return CUDA_SUCCESS;
}

SIM_API(cuLinkDestroy, (CUlinkState link))
{
    SIM_ENTER(cuLinkDestroy);
    if (!sim_is(link, SIM_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    free(link->data);
    sim_object_free(link);
    return CUDA_SUCCESS;
}
