/* physical.h -- physical memory of the virtual memory management, and multicast objects, which are mapped like it. */
#ifndef SIM_PHYSICAL_H
#define SIM_PHYSICAL_H

#include "address.h"

struct sim_physical {
    CUmemGenericAllocationHandle handle;
    uint32_t references; /* of the handle */
    uint32_t mappings;   /* and whatever else keeps it: tiles of arrays, multicast objects */
    CUdevice device;     /* -1: on the host, charged to no device */
    uint64_t bytes;
    bool pinned;   /* on the host, by this process */
    char *backing; /* always mapped */
    CUmemAllocationProp prop;
    int fd;         /* its own file, when it was exported or imported; else -1, and it lies in the space */
    uint32_t share; /* then: what it is in the machine */
    uint64_t serial;
    struct sim_multicast *multicast; /* NULL: memory */
    struct sim_physical *next_kept;  /* export.c: nothing but a descriptor keeps it */
};

/* All of these with sim_memory_lock held. */

/* Of a living handle, else NULL; a handle dies with its last reference. */
struct sim_physical *sim_physical_of(CUmemGenericAllocationHandle handle);
/* With one reference and a handle; NULL: no memory. */
struct sim_physical *sim_physical_new(CUdevice device, uint64_t bytes, const CUmemAllocationProp *prop);
/* Gives the memory back when nothing holds it any more. */
void sim_physical_settle(struct sim_physical *p);
/* What this process has of that share, or NULL. */
struct sim_physical *sim_physical_shared(uint32_t share, uint64_t serial);
/* Is any of it exported or imported? */
bool sim_physical_any_shared(void);

/* vmm.c: put the pages of p where its mappings are: they have moved. */
void sim_mappings_renew(const struct sim_physical *p);
/* The block's pages, with the access that it has. */
bool sim_mapping_place(const struct sim_block *block);

/* export.c: p has no users; false: a descriptor that was exported keeps it. */
bool sim_export_end(struct sim_physical *p);
/* Looks for descriptors that were closed.  Without the lock. */
void sim_exports_sweep(void);
/* The physical memory behind an exported descriptor, held once more; CUDA_ERROR_INVALID_VALUE: no such. */
CUresult sim_physical_import(int fd, struct sim_physical **out);

/* multicast.c: bound memory takes the place of nothing in a mapping of p. */
bool sim_multicast_place(const struct sim_physical *p, const struct sim_block *block);
bool sim_multicast_ready(const struct sim_physical *p);
void sim_multicast_end(struct sim_physical *p);

#endif
