/* image.h -- what a module image holds: kernels with their parameters, and variables. */
#ifndef SIM_IMAGE_H
#define SIM_IMAGE_H

#include "sim.h"

#define SIM_MAX_PARAM_BYTES 32764 /* what a launch may pass since compute capability 7.0 */

struct sim_entry {
    char *name;
    uint32_t param_count;
    uint32_t param_bytes; /* end of the last parameter */
    struct sim_param *param;
    uint32_t registers;    /* per thread */
    uint32_t shared_bytes; /* static */
    uint32_t local_bytes;
    uint32_t const_bytes; /* constant memory besides its parameters */
    uint32_t max_threads; /* per block, as its author promised; 0: no promise */
};

struct sim_variable {
    char *name;
    uint64_t offset;  /* in the image's block of device memory */
    uint64_t size;    /* bytes */
    const void *init; /* NULL: zeros; else in owned_init or in the copy that the image keeps */
    uint64_t init_bytes;
    void *owned_init;
};

enum sim_image_kind { SIM_IMAGE_PTX = 1, SIM_IMAGE_CUBIN = 2 };

struct sim_image {
    enum sim_image_kind kind;
    uint32_t arch; /* 10 * major + minor of the compute capability it was made for */
    uint32_t isa;  /* PTX: version of the language, 10 * major + minor */
    uint32_t entry_count, variable_count;
    struct sim_entry *entry;
    struct sim_variable *variable;
    uint64_t variable_bytes; /* size of the block that holds all variables */
    uint64_t code_bytes;     /* what its code takes on the device, roughly */
    void *copy;              /* the image itself: initial values point into it */
};

#define SIM_PTX_ISA_NEWEST 90 /* driver 13.0 */

/* All return a CUresult: 0, 200 INVALID_IMAGE, 218 INVALID_PTX, 209 NO_BINARY_FOR_GPU, 222
 * UNSUPPORTED_PTX_VERSION, 2 OUT_OF_MEMORY.  `arch` is the device's compute capability.  On success the
 * caller frees *image. */
int sim_image_parse(const void *data, size_t size, uint32_t arch, struct sim_image *image);
int sim_ptx_parse(const char *text, size_t size, struct sim_image *image);
int sim_elf_parse(const void *data, size_t size, struct sim_image *image);
void sim_image_free(struct sim_image *image);

/* How many bytes an image has that was handed over by its address alone; 0: this is no image. */
size_t sim_image_size(const void *data);

/* Picks from a fat binary what suits the device: *data and *size become one PTX text or cubin.  *owned, if
 * not NULL afterwards, is a decompressed copy that the caller frees. */
int sim_fatbin_select(const void *fatbin, size_t fatbin_size, uint32_t arch, const void **data, size_t *size,
                      void **owned);
bool sim_is_fatbin(const void *data, size_t size);
size_t sim_fatbin_size(const void *data);
/* The container itself, where `data` is the wrapper that compilers put into programs: only for memory of the
 * caller, since a wrapper holds an address. */
const void *sim_fatbin_unwrap(const void *data);

/* Grows an array by one zeroed element and returns it; NULL: out of memory. */
struct sim_entry *sim_image_add_entry(struct sim_image *image, const char *name, size_t length);
struct sim_param *sim_entry_add_param(struct sim_entry *entry, uint32_t offset, uint32_t bytes);
struct sim_variable *sim_image_add_variable(struct sim_image *image, const char *name, size_t length);

const struct sim_entry *sim_image_entry(const struct sim_image *image, const char *name);
const struct sim_variable *sim_image_variable(const struct sim_image *image, const char *name);

#endif
