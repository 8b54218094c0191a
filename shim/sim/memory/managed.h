/* managed.h -- where managed memory lies, and what the program has said about it.
 *
 * An allocation is a list of spans, each of whole pages with one state.  A page has a copy on one processor, or, where
 * it is read mostly, on several.  What lies on a device is charged to it as SIM_MEM_MANAGED; what lies on the host is
 * not.  A new allocation lies on its device as far as there is room (the hardware populates it when it is touched), on
 * the host beyond that; one made for the host, or whose pages were prefetched there, lies on the host.
 *
 * Whoever needs device memory evicts what was used least recently, in pieces of 2 MiB, of its own process; the
 * hardware takes it from other processes too.  Which pages a kernel touches nobody here can know: only prefetches,
 * evictions and advice move them, and the accounts change when a move is queued, its time passes on the copy engines.
 *
 * All of it under sim_memory_lock. */
#ifndef SIM_MANAGED_H
#define SIM_MANAGED_H

#include "address.h"

#define SIM_MANAGED_PAGE 4096ull
#define SIM_ON_HOST      (1u << 31) /* else 1 << device */

enum { CU_DEVICE_CPU = -1, CU_DEVICE_INVALID = -2 };
enum { CU_MEM_ATTACH_GLOBAL = 1, CU_MEM_ATTACH_HOST = 2, CU_MEM_ATTACH_SINGLE = 4 };
enum {
    CU_MEM_ADVISE_SET_READ_MOSTLY = 1,
    CU_MEM_ADVISE_UNSET_READ_MOSTLY = 2,
    CU_MEM_ADVISE_SET_PREFERRED_LOCATION = 3,
    CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION = 4,
    CU_MEM_ADVISE_SET_ACCESSED_BY = 5,
    CU_MEM_ADVISE_UNSET_ACCESSED_BY = 6
};

struct sim_span {
    struct sim_span *next;
    uint64_t from, to; /* bytes from the start of the allocation */
    bool read_mostly;
    bool discarded; /* the data is no longer needed: moving it takes no time */
    CUmemLocation preferred, prefetched;
    uint32_t accessed_by; /* processors, as in copies */
    uint32_t copies;      /* SIM_ON_HOST, 1 << device */
    uint64_t used;        /* when: a count of uses */
};

struct sim_managed {
    struct sim_managed *next, **link; /* of all */
    uint64_t base, bytes;             /* bytes as charged: rounded up to 512 */
    struct sim_span *spans;
};

/* Bytes that cross the bus. */
struct sim_moved {
    uint64_t to_device, to_host;
};

/* The state of new memory, charged; NULL: no room on device and host together. */
struct sim_managed *sim_managed_open(CUdevice device, uint64_t base, uint64_t bytes, bool on_host);
void sim_managed_close(struct sim_managed *managed);

/* A piece of one allocation, in whole pages. */
struct sim_range {
    struct sim_managed *managed;
    uint64_t from, to;
};

/* INVALID_VALUE unless all of it belongs to one managed allocation. */
CUresult sim_managed_range(CUdeviceptr address, size_t bytes, struct sim_range *range);
/* Make spans begin and end where the range does; the first of them.  NULL: no memory. */
struct sim_span *sim_managed_cut(const struct sim_range *range);
/* Join neighbours that have become alike. */
void sim_managed_join(struct sim_managed *managed);
/* Bring copies of the range to a device, as far as there is room when others have been evicted. */
CUresult sim_managed_to_device(const struct sim_range *range, CUdevice device, struct sim_moved *moved);
CUresult sim_managed_to_host(const struct sim_range *range, struct sim_moved *moved);
/* No more than one copy of each page in the range. */
CUresult sim_managed_collapse(const struct sim_range *range);
/* What was said about the range is forgotten but for where it is meant to be; false: no memory. */
bool sim_managed_renew(const struct sim_range *range, CUmemLocation preferred);

/* managed_move.c.  The first forms of the calls name a device, or -1 for the host. */
CUmemLocation sim_location_of(CUdevice device);
/* A location that memory can be at, in its final form: the current node is node 0, the only one. */
CUresult sim_location_check(CUmemLocation *location);

#endif
