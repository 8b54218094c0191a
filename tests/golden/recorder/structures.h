/* structures.h -- structures of the driver API that the calls of a recording fill in, as CUDA 13 lays them out. */
#ifndef STRUCTURES_H
#define STRUCTURES_H

#include <stddef.h>
#include <stdint.h>

struct location {
    int type, id;
};

/* CUmemAllocationProp */
struct allocation {
    int type, handle_types;
    struct location location;
    void *windows;
    struct {
        unsigned char compression, rdma;
        unsigned short usage;
        unsigned char reserved[4];
    } flags;
};

/* CUmemAccessDesc */
struct access {
    struct location location;
    int flags;
};

/* CUmemPoolProps */
struct pool {
    int type, handle_types;
    struct location location;
    void *windows;
    size_t max_bytes;
    unsigned short usage;
    unsigned char reserved[54];
};

/* CUDA_ARRAY_DESCRIPTOR and CUDA_ARRAY3D_DESCRIPTOR */
struct array {
    size_t width, height;
    int format;
    unsigned channels;
};
struct array3d {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};

/* One side of a copy: CUDA_MEMCPY2D and CUDA_MEMCPY3D are two of them and an extent. */
struct copy2d {
    struct side2d {
        size_t x, y;
        int type;
        const void *host;
        uint64_t device, array;
        size_t pitch;
    } from, to;
    size_t width, height;
};
struct copy3d {
    struct side3d {
        size_t x, y, z, level;
        int type;
        const void *host;
        uint64_t device, array, context;
        size_t pitch, height;
    } from, to;
    size_t width, height, depth;
};

/* CUDA_KERNEL_NODE_PARAMS (version 2), CUDA_MEMSET_NODE_PARAMS, CUDA_HOST_NODE_PARAMS */
struct kernel_node {
    uint64_t function;
    unsigned grid[3], block[3], shared;
    void **params, **extra;
    uint64_t kernel, context;
};
struct memset_node {
    uint64_t address;
    size_t pitch;
    unsigned value, element;
    size_t width, height;
};
struct host_node {
    void (*function)(void *);
    void *data;
};

/* CUlaunchAttribute and CUlaunchConfig */
struct attribute {
    int id, pad;
    union {
        uint64_t pad[8];
        int number;
        struct {
            unsigned x, y, z;
        } cluster;
    } value;
};
struct launch {
    unsigned grid[3], block[3], shared;
    uint64_t stream;
    struct attribute *attributes;
    unsigned count;
};

/* CUstreamBatchMemOpParams */
struct memory_operation {
    int operation;
    uint64_t address, value;
    unsigned flags;
    uint64_t alias;
    uint64_t pad;
};

enum memory_type { HOST = 1, DEVICE = 2, ARRAY = 3, UNIFIED = 4 };
enum { KIB = 1 << 10, MIB = 1 << 20 };
#define PIB (1ull << 50)

#endif
