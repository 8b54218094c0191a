/* module.h -- loaded images: modules belong to one context; libraries to none, and have a module in each that uses them. */
#ifndef SIM_MODULE_H
#define SIM_MODULE_H

#include "image.h"
#include "sim.h"

struct sim_module {
    uint32_t magic;
    uint32_t function_count;
    struct sim_context *context;
    struct sim_module *next; /* of the context */
    struct sim_library *library;
    struct sim_module *next_of_library;
    struct sim_image image;
    struct sim_function **function; /* one for each entry of the image */
    CUdeviceptr variables;
    uint64_t charged_bytes; /* its code */
};

struct sim_kernel {
    uint32_t magic;
    struct sim_library *library;
    struct sim_function shape;             /* name, parameters and attributes; belongs to no context */
    _Atomic(struct sim_function *) recent; /* where the last launch found its function */
};

struct sim_library {
    uint32_t magic;
    uint32_t kernel_count;
    void *data; /* the image as it was given */
    size_t size;
    struct sim_image image; /* as read for the first device: names and shapes of the kernels */
    struct sim_kernel **kernel;
    struct sim_module *modules;
};

typedef struct sim_library *CUlibrary;
typedef struct sim_kernel *CUkernel;

struct sim_jit {
    unsigned count;
    const int *option;
    void **value;
};

/* Guards the lists of modules, libraries and their functions. */
extern pthread_mutex_t sim_modules_lock;

uint32_t sim_context_arch(const struct sim_context *ctx);
/* With the lock held. */
CUresult sim_module_make(struct sim_context *ctx, const void *data, size_t size, struct sim_module **module);
void sim_module_unmake(struct sim_module *module);
/* Fills in everything of a function that its image says. */
void sim_function_shape(struct sim_function *function, const struct sim_entry *entry);

/* The library's module in that context, loaded if need be.  With the lock held. */
CUresult sim_library_module(struct sim_library *library, struct sim_context *ctx, struct sim_module **module);
struct sim_function *sim_kernel_function(struct sim_kernel *kernel, struct sim_context *ctx);

CUresult sim_function_attribute(const struct sim_function *function, const struct sim_image *image,
                                uint32_t arch, int attribute, int *value);
CUresult sim_function_set_attribute(struct sim_function *function, CUdevice device, int attribute, int value);
CUresult sim_param_info(const struct sim_function *function, size_t index, size_t *offset, size_t *bytes);

/* Reads a whole file; FILE_NOT_FOUND 301.  The caller frees *data, which ends in a zero byte. */
CUresult sim_read_file(const char *path, void **data, size_t *size);
/* Writes what a compilation said into the buffers that the caller's options name. */
void sim_jit_log(const struct sim_jit *jit, CUresult result);

#endif
