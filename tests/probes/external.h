/* external.h -- structures of external memory. */
#ifndef EXTERNAL_H
#define EXTERNAL_H

#include <stdint.h>

#define OPAQUE_DESCRIPTOR 1

/* CUDA_EXTERNAL_MEMORY_HANDLE_DESC, with a descriptor; it becomes the driver's */
struct external_memory {
    uint64_t type, descriptor, name, bytes;
    unsigned flags, reserved[16];
};

/* CUDA_EXTERNAL_MEMORY_BUFFER_DESC */
struct external_buffer {
    uint64_t offset, bytes;
    unsigned flags, reserved[16];
};

#endif
