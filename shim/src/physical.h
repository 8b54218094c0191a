/* physical.h -- physical memory, and all that keeps it: handles, mappings, bindings, tiles, imports, descriptors.
 *
 * Each is a record with a number of holds, which may keep other records.  The last hold to go ends it, and with
 * it the charge, if it is memory that was made here. */
#ifndef GS_PHYSICAL_H
#define GS_PHYSICAL_H

#include "descriptor.h"
#include "driver.h"
#include "ledger.h"
#include "part.h"

/* What a record is found by: a handle of the driver's, made different from all addresses in the ledger. */
enum gs_name {
    GS_NAME_HANDLE = 1, /* CUmemGenericAllocationHandle: memory, multicast objects */
    GS_NAME_EXTERNAL,   /* CUexternalMemory */
    GS_NAME_BUFFER,     /* an address in external memory */
    GS_NAME_ARRAY,      /* CUarray and CUmipmappedArray */
    GS_NAME_ENDPOINT,   /* CUlogicalEndpointId */
    GS_NAME_MAPPING,    /* an address; vmm.c notes these itself */
    GS_NAME_HOST, /* an address of pinned memory, and of a registered range: host.c notes these itself */
    GS_NAME_REGISTERED,
};

static inline uint64_t gs_name(enum gs_name kind, uint64_t handle)
{
    return handle ^ (uint64_t)kind << 60; /* no address is as long as that */
}

#define GS_RECORD_BITS 24 /* of a record's number */

/* A record with one hold; `bytes` have been reserved, and go with it.  0: no memory for it. */
uint32_t gs_physical_new(uint64_t name, int device, uint64_t bytes);

/* One hold more.  0: no such record, and then none is needed: 0 may be dropped. */
uint32_t gs_physical_hold(uint64_t name);
void gs_physical_drop(uint32_t record);

/* The driver's cuMemRetainAllocationHandle, and one hold more.  What keeps the memory until then is dropped after the
 * driver has let go of it; so nobody does in between. */
CUresult gs_physical_retain(CUmemGenericAllocationHandle *handle, void *address);

/* For functions that end something: after the driver's answer, drops the hold taken before it, and, if the driver
 * has done it, the one that this was about. */
CUresult gs_physical_dropped(uint32_t record, CUresult result);

/* `keeper` keeps `kept` from now on, in that part.  False: no memory. */
int gs_physical_keep(uint32_t keeper, uint32_t kept, const struct gs_part *part);

/* Whatever `keeper` keeps in that part, it keeps no more once the stream has come there. */
void gs_physical_leave(uint32_t keeper, const struct gs_part *part, CUstream stream);

/* A keeper (an array, an endpoint, an address in external memory) with one hold more, made where there is none: it
 * lives for as long as anybody holds it or it keeps anything, at most as long as the context (NULL: none).  0: no memory. */
uint32_t gs_physical_hold_keeper(uint64_t name, CUcontext context);

/* Around the driver's call that destroys one: it loses its name, which the driver may give to another one, and what
 * it keeps once that has succeeded. */
uint32_t gs_physical_going(uint64_t name);
CUresult gs_physical_gone(uint32_t keeper, CUresult result);

void gs_physical_context_gone(CUcontext context);

/* A descriptor stands for the record from now on. */
void gs_physical_exported(uint32_t record, int fd);

/* Holds, once more, the record that the descriptor stands for; 0: it is not of this process. */
uint32_t gs_physical_of_descriptor(int fd);

/* The record is of another process: it keeps the copy of its descriptor, by which the maker knows. */
void gs_physical_imported(uint32_t record, const struct gs_copy *copy);

/* Ends what nothing but descriptors kept, which have been closed. */
void gs_physical_collect(void);

void gs_physical_forget(void); /* in a fork's child */

#endif
