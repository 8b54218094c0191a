/* doors.h -- a random program that takes device memory through every door: what it holds, where, and its calls.
 *
 * A step is one operation, chosen by the program's seed, the thread and the number of the step.  Answers do not matter:
 * the program goes on from whatever the driver has said. */
#ifndef DOORS_H
#define DOORS_H

#include "../threads.h"

#include <pthread.h>
#include <stdbool.h>

enum {
    DEVICES = 4,
    PLACES_PER_DEVICE = 3,
    PLACES = DEVICES * PLACES_PER_DEVICE,
    LANES = 3,
    SHARED_POOLS = 2
};

/* A context, and streams in it.  The first of a device is its primary one.  Who works in it holds the lock shared. */
struct place {
    pthread_rwlock_t lock;
    CUcontext context;
    CUdevice device;
    bool alive;
    CUstream lane[LANES];
};
extern struct place places[PLACES];
extern int devices;

/* What a step goes by. */
struct actor {
    unsigned chance;
    struct place *at;
    CUstream lane;
    int thread, step;
};

unsigned below(struct actor *a, unsigned end);
bool one_in(struct actor *a, unsigned count);
uint64_t some_bytes(struct actor *a);

/* -------- what is held -------- */

enum kind {
    LINEAR,
    EXPORTED, /* by cuIpcGetMemHandle: others may have it open */
    MANAGED,
    ORDERED,
    POOL,
    HANDLE,
    MAPPING,
    MULTICAST,
    EXTERNAL,
    OPENED,
    ARRAY,
    MIPMAP,
    SPARSE,
    MODULE,
    LIBRARY,
    EXEC,
    LEFT, /* by a graph */
    GREEN,
    KINDS
};

enum { NOWHERE = -1, ANYWHERE = -2, ADDRESSES = 3 };

struct held {
    enum kind kind;
    CUdevice device;
    int home; /* the place with which it goes, or NOWHERE */
    union {
        uint64_t handle;
        CUmemGenericAllocationHandle memory;
    };
    uint64_t bytes;
    uint64_t address[ADDRESSES]; /* of what a graph leaves allocated */
    bool left[ADDRESSES];        /* and whether it has */
};

/* Whoever takes something has it alone.  False: there is none. */
void keep(const struct held *held);
bool take(struct actor *a, enum kind kind, int home, CUdevice device, struct held *held);
unsigned held_count(void);
void drop_home(int home);          /* its context is gone, or about to go */
void drop_device(CUdevice device); /* its last context is gone, and what streams and graphs had of it */

static inline int home_of(const struct place *place)
{
    return (int)(place - places);
}

/* -------- calls: counted by name, and told where the program is asked to -------- */

struct site {
    const char *name;
    _Atomic unsigned good, bad;
    _Atomic bool known;
    struct site *next;
};

CUresult did(const struct actor *a, struct site *site, CUresult result);

#define DO(function, ...)                                                                                    \
    ({                                                                                                       \
        static struct site site_ = {.name = #function};                                                      \
        did(a, &site_, function(__VA_ARGS__));                                                               \
    })

/* -------- the doors -------- */

typedef void operation(struct actor *a);

operation allocate, free_some, ordered_allocate, ordered_free, pool_make, pool_change, pool_destroy,
    managed_work;
operation physical_make, physical_map, physical_unmap, physical_release, physical_retain, physical_share,
    multicast_bind, receive, close_import;
operation array_make, array_destroy, tiles_change;
operation graph_make, graph_capture, graph_launch, graph_destroy, graph_free, graph_trim;
operation context_limit, green_make, green_destroy, module_load, module_unload, library_load, library_use,
    library_unload, work, look;

bool place_open(struct actor *a, struct place *place);  /* with the lock held */
bool place_close(struct actor *a, struct place *place); /* the same */
bool shared_pools_open(struct actor *a);
void shared_pools_close(struct actor *a);
CUmemoryPool shared_pool(struct actor *a, CUdevice device);
void mailbox(int receiving, int sending);

/* Tries to end it; what could not be ended is held on to. */
void let_go(struct actor *a, const struct held *held);
bool end_memory(struct actor *a, const struct held *held);
bool end_physical(struct actor *a, const struct held *held);
bool end_array(struct actor *a, const struct held *held);
bool end_graph(struct actor *a, const struct held *held);
bool end_context(struct actor *a, const struct held *held);

/* -------- the end -------- */

void synchronise(struct actor *a);
void end_all(struct actor *a, enum kind first, enum kind last);
void free_all(struct actor *a); /* all but contexts */
void leave(struct actor *a);    /* these */

/* -------- the driver's calls that threads.h lacks -------- */

typedef struct {
    CUmemPoolProps poolProps;
    const CUmemAccessDesc *accessDescs;
    size_t accessDescCount, bytesize;
    CUdeviceptr dptr;
} CUDA_MEM_ALLOC_NODE_PARAMS;
typedef struct {
    uint64_t flags;
    CUstream hUploadStream;
    CUgraphNode hErrNode_out;
    int result_out;
} CUDA_GRAPH_INSTANTIATE_PARAMS;

CUresult cuDevicePrimaryCtxReset_v2(CUdevice);
CUresult cuDeviceGetCount(int *);
CUresult cuDeviceSetMemPool(CUdevice, CUmemoryPool);
CUresult cuDeviceGraphMemTrim(CUdevice);
CUresult cuDeviceGetGraphMemAttribute(CUdevice, int, void *);
CUresult cuDeviceSetGraphMemAttribute(CUdevice, int, void *);
CUresult cuDeviceTotalMem_v2(size_t *, CUdevice);
CUresult cuCtxCreate_v3(CUcontext *, void *, int, unsigned, CUdevice);
CUresult cuCtxCreate_v4(CUcontext *, CUctxCreateParams *, unsigned, CUdevice);
CUresult cuCtxFromGreenCtx(CUcontext *, CUgreenCtx);
CUresult cuMemAllocPitch_v2(CUdeviceptr *, size_t *, size_t, size_t, unsigned);
CUresult cuMemDiscardBatchAsync(CUdeviceptr *, size_t *, size_t, unsigned long long, CUstream);
CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *, void *);
CUresult cuMemMapArrayAsync(CUarrayMapInfo *, unsigned, CUstream);
CUresult cuMulticastCreate(CUmemGenericAllocationHandle *, const CUmulticastObjectProp *);
CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle, CUdevice);
CUresult cuMulticastBindMem(CUmemGenericAllocationHandle, size_t, CUmemGenericAllocationHandle, size_t,
                            size_t, unsigned long long);
CUresult cuMulticastUnbind(CUmemGenericAllocationHandle, CUdevice, size_t, size_t);
CUresult cuImportExternalMemory(CUexternalMemory *, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *);
CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr *, CUexternalMemory,
                                         const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *);
CUresult cuDestroyExternalMemory(CUexternalMemory);
CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *, CUipcMemHandle, unsigned);
CUresult cuIpcCloseMemHandle(CUdeviceptr);
CUresult cuArray3DCreate_v2(CUarray *, const CUDA_ARRAY3D_DESCRIPTOR *);
CUresult cuGraphCreate(CUgraph *, unsigned);
CUresult cuGraphClone(CUgraph *, CUgraph);
CUresult cuGraphAddMemAllocNode(CUgraphNode *, CUgraph, const CUgraphNode *, size_t,
                                CUDA_MEM_ALLOC_NODE_PARAMS *);
CUresult cuGraphAddMemFreeNode(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUdeviceptr);
CUresult cuGraphAddChildGraphNode(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUgraph);
CUresult cuGraphInstantiateWithParams(CUgraphExec *, CUgraph, CUDA_GRAPH_INSTANTIATE_PARAMS *);
CUresult cuLibraryGetGlobal(CUdeviceptr *, size_t *, CUlibrary, const char *);

#endif
