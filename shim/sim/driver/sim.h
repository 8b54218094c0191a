/* sim.h -- one process's side of the simulated driver: handles, contexts, streams, and how work is submitted.
 *
 * Layers, each using only those above it:
 *   machine.h            the shared machine and its model of time
 *   sim.h                this file: process.c context.c stream.c event.c helper.c
 *   work.h function.h block.h   what streams are given, kernels, memory
 *   memory.c pool.c vmm.c copy.c launch.c, and module.c library.c graph.c capture.c device.c ...
 *
 * Conventions.  An exported function is written once, under its exact ABI name, as SIM_API(name, (params));
 * names that nobody writes are weak exports that answer CUDA_ERROR_NOT_SUPPORTED (api.def).  Functions that
 * take a stream come in two spellings and are written once with SIM_STREAM_API.  Each begins with
 * SIM_ENTER(name) (driver initialised, no fault injected) or SIM_ENTER_CONTEXT(name, ctx) (and a current
 * context that has not failed): entry.h.  Errors are returned, never printed. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "block.h"
#include "cuda_types.h"
#include "entry.h"
#include "function.h"
#include "machine.h"
#include "work.h"

#define SIM_EXPORT            __attribute__((visibility("default")))
#define SIM_API(name, params) SIM_EXPORT CUresult name params

/* name: legacy default stream; twin: the _ptsz or _ptds spelling.  The body sees `per_thread` and the
 * parameters. */
#define SIM_UNPACK(...) __VA_ARGS__
#define SIM_STREAM_API(name, twin, params, args)                                                             \
    static CUresult do_##name(bool per_thread, SIM_UNPACK params);                                           \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        return do_##name(false, SIM_UNPACK args);                                                            \
    }                                                                                                        \
    SIM_API(twin, params)                                                                                    \
    {                                                                                                        \
        return do_##name(true, SIM_UNPACK args);                                                             \
    }                                                                                                        \
    static CUresult do_##name(bool per_thread, SIM_UNPACK params)

/* -------- the process (process.c) -------- */

enum sim_driver_state { SIM_DRIVER_NEW, SIM_DRIVER_READY, SIM_DRIVER_FORKED, SIM_DRIVER_ENDED };

struct sim_driver {
    _Atomic uint32_t state; /* enum sim_driver_state */
    struct sim_machine *machine;
    uint32_t process;                 /* our record in machine->process[] */
    int device_count;                 /* visible ones: CUDA_VISIBLE_DEVICES */
    uint32_t device[SIM_MAX_DEVICES]; /* CUdevice -> index in machine->device[] */
};

extern struct sim_driver sim_driver;

/* CUDA_ERROR_NOT_INITIALIZED, or why not. */
CUresult sim_not_ready(void);
/* The error that SIMGPU_FAULTS (faults.c) injects into this call, or CUDA_SUCCESS. */
CUresult sim_fault(const char *name);

/* properties.c: cuDeviceGetAttribute of a valid device; CUDA_ERROR_INVALID_VALUE when there is no such attribute. */
CUresult sim_device_attribute(CUdevice device, int attribute, int *value);

/* visible.c: the machine's devices that CUDA_VISIBLE_DEVICES lets this process see; returns how many. */
int sim_devices_choose(const struct sim_machine *, uint32_t device[SIM_MAX_DEVICES]);

static inline bool sim_device_valid(CUdevice device)
{
    return device >= 0 && device < sim_driver.device_count;
}

/* Shared record of a CUdevice. */
static inline struct sim_device *sim_device_of(CUdevice device)
{
    return &sim_driver.machine->device[sim_driver.device[device]];
}

/* -------- handles --------
 * Every object begins with a magic word, and freed objects keep their memory with the word cleared, so that a
 * destroyed handle is told from a living one. */

enum sim_magic {
    SIM_DEAD = 0,
    SIM_CONTEXT = 0x43545831,
    SIM_STREAM,
    SIM_EVENT,
    SIM_MODULE,
    SIM_FUNCTION,
    SIM_LIBRARY,
    SIM_KERNEL,
    SIM_POOL,
    SIM_GRAPH,
    SIM_GRAPH_EXEC,
    SIM_GRAPH_NODE,
    SIM_ARRAY,
    SIM_PHYSICAL,
    SIM_LINK,
    SIM_MIPMAP,
    SIM_TEXTURE,
    SIM_TEXTURE_REFERENCE,
    SIM_SURFACE,
    SIM_SURFACE_REFERENCE,
    SIM_GREEN,
    SIM_USER_OBJECT,
    SIM_EXTERNAL,
};

/* Zeroed memory for an object of that magic; freed objects of the same magic are used again, last in first
 * out (size must be the same at every call for one magic). */
void *sim_object_new(enum sim_magic, size_t size);
void sim_object_free(void *object);

static inline bool sim_is(const void *object, enum sim_magic magic)
{
    return object != NULL && *(const uint32_t *)object == (uint32_t)magic;
}

/* -------- contexts (context.c, primary.c) -------- */

/* What was submitted to a stream up to some moment; it stays meaningful when the stream is destroyed. */
struct sim_point {
    uint32_t queue;
    unsigned long long serial; /* the stream's */
    uint64_t command;
};

struct sim_context {
    uint32_t magic;
    uint32_t shared; /* index in machine->context[] */
    CUdevice device;
    _Atomic uint32_t flags;
    uint32_t api_version;
    bool primary;
    uint32_t users;        /* primary: retains */
    unsigned long long id; /* cuCtxGetId */
    size_t limit[CU_LIMIT_SETTABLE];
    _Atomic uint32_t cache_config;
    _Atomic uint32_t peers; /* devices to which peer access is enabled */
    pthread_mutex_t lock;   /* the lists of streams, modules and green contexts, gate and limits */
    struct sim_stream *streams;
    struct sim_stream *legacy;
    struct sim_module *modules; /* module.c: unloaded when the context goes */
    struct sim_context
        *root;               /* of a green context: the primary one, whose memory, modules and events it uses;
                                   of any other: itself */
    struct sim_green *green; /* what it was made for, else NULL */
    struct sim_context *greens; /* of a primary context, linked by next_green */
    struct sim_context *next_green;
    struct sim_stream *marker; /* context_event.c: hidden, made when needed */
    struct sim_point gate;     /* what later streams wait for first; queue 0: nothing */
    _Atomic uint32_t attached; /* cuCtxAttach */
};

/* What a failed context answers to everything, else CUDA_SUCCESS. */
static inline CUresult sim_context_error(const struct sim_context *ctx)
{
    return (CUresult)atomic_load_explicit(&sim_driver.machine->context[ctx->shared].fault,
                                          memory_order_acquire);
}

/* The thread's current context, NULL when none or when it was destroyed; then the error for that. */
struct sim_context *sim_current_context(void);
CUresult sim_no_context(void);
/* Makes the device's primary context exist (one more user). */
CUresult sim_primary_retain(CUdevice device, struct sim_context **ctx);
/* module.c: called when a context is destroyed or reset; weak and empty until then. */
void sim_modules_unload_all(struct sim_context *ctx);

/* Charge device memory of the context's device for this process.  Reaps dead processes before it refuses. */
CUresult sim_charge(CUdevice device, enum sim_memory_kind kind, uint64_t bytes);
void sim_uncharge(CUdevice device, enum sim_memory_kind kind, uint64_t bytes);

/* Page-locked memory of the host. */
void sim_pin(uint64_t bytes);
void sim_unpin(uint64_t bytes);

/* -------- streams (stream.c) -------- */

struct sim_stream_attributes {
    CUaccessPolicyWindow window;
    int sync_policy; /* 0: never set */
    int domain;
    bool domain_map_set;
    unsigned char domain_map[2];
};

#define SIM_STREAM_AFTER 8

struct sim_stream {
    uint32_t magic;
    uint32_t queue; /* index in machine->queue[] */
    struct sim_context *context;
    struct sim_stream *next;
    uint32_t flags;
    int priority;
    unsigned long long id;                    /* cuStreamGetId */
    unsigned long long serial;                /* never the same twice */
    struct sim_point after[SIM_STREAM_AFTER]; /* event.c: of other streams, by the events waited for last */
    uint32_t after_count;
    void *_Atomic capture; /* capture.c: not NULL while capturing; changes under its lock */
    /* Guarded by the lock of effects.c, except that submissions write effect and last_effect under the machine's. */
    _Atomic uint64_t effects_done; /* commands whose effect has been carried out */
    _Atomic uint64_t last_effect;  /* no command after this one has an effect */
    uint64_t effects_due;
    struct sim_work *effect; /* SIM_QUEUE_DEPTH of them, indexed like the shared commands */
    struct sim_stream_attributes attributes;
};

/* NULL, legacy, per-thread or a real handle -> stream.  Errors: INVALID_HANDLE 400, CONTEXT_IS_DESTROYED 709,
 * INVALID_CONTEXT 201 when a default stream is meant and no context is current. */
CUresult sim_stream_resolve(CUstream handle, bool per_thread, struct sim_stream **stream);
CUresult sim_stream_synchronize(struct sim_stream *stream);
CUresult sim_context_synchronize(struct sim_context *ctx);

struct sim_point sim_stream_now(struct sim_stream *stream);
/* event.c: did it wait for an event that comes after that point? */
bool sim_stream_follows(const struct sim_stream *stream, struct sim_point point);
bool sim_point_passed(struct sim_point point);
/* Wait until all of it is done and its effects are visible. */
void sim_point_wait(struct sim_point point);
/* What the stream is given from now on waits, on the device, until all of it is done (branches of a graph launch: one
 * hidden stream for each, SIM_ROLE_NON_BLOCKING).  Like sim_submit_now() it may block while the queue is full. */
CUresult sim_submit_after(struct sim_stream *stream, struct sim_point point);

/* -------- events (event.c) -------- */

struct sim_event {
    uint32_t magic;
    uint32_t slot; /* index in machine->event[] */
    struct sim_context *context;
    unsigned long long context_id;
    uint64_t unused_until; /* the slot's count when the event got it: no record yet while it is still that */
    uint32_t flags;
    uint32_t
        share; /* event_ipc.c: what other processes know it by, in machine->share[]; 0: no other knows it */
    void *_Atomic
        capture; /* capture.c: the nodes it stands for after a record in a capturing stream; under its lock */
};

#endif
