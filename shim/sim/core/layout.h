/* layout.h -- what the shared file of the machine holds; any change to it is a new SIM_VERSION. */
#ifndef SIM_LAYOUT_H
#define SIM_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_MAGIC   0x317570676d6973ull /* "simgpu1" */
#define SIM_VERSION 4u

#define SIM_MAX_DEVICES   16
#define SIM_MAX_PROCESSES 4096 /* live and ended; the oldest ended record is reused when all are taken */
#define SIM_MAX_LIVE      512
#define SIM_MAX_CONTEXTS  2048
#define SIM_MAX_STREAMS   4096
#define SIM_QUEUE_DEPTH   1024 /* commands a stream holds before the caller blocks; a power of two */
#define SIM_EVENT_BLOCKS  8192
#define SIM_BLOCK_EVENTS  64
#define SIM_JOURNAL       2048
#define SIM_MAX_SMS       192 /* of one device */
#define SIM_SAMPLES       100 /* notes kept of how busy all was: 99 samples, as NVIDIA's driver has them */

#define SIM_MIB (1ull << 20)

/* -------- what a device is -------- */

struct sim_profile {
    char key[16];  /* h200, a100, l4, t4 */
    char name[64]; /* as cuDeviceGetName says it */
    uint64_t memory_bytes;
    uint64_t context_bytes; /* device memory that one context takes */
    uint32_t sm_count;
    uint32_t compute_major, compute_minor;
    uint32_t clock_khz, memory_clock_khz;
    uint32_t memory_bus_bits;
    uint32_t l2_bytes;
    uint32_t threads_per_sm, blocks_per_sm;
    uint32_t shared_per_sm, shared_per_block_optin;
    uint32_t host_bytes_per_us;   /* one copy engine, over PCIe */
    uint32_t memory_bytes_per_us; /* device memory: device-to-device copies (read and write) and memsets */
    uint32_t pci_device_id;
};

/* -------- memory -------- */

enum sim_memory_kind {
    SIM_MEM_CONTEXT, /* what a context takes by existing */
    SIM_MEM_LINEAR,  /* cuMemAlloc, cuMemAllocPitch: bytes rounded up to SIM_LINEAR_GRAIN */
    SIM_MEM_MANAGED, /* resident on its device from the start; same rounding */
    SIM_MEM_POOL,    /* what stream-ordered pools have reserved: multiples of SIM_PHYSICAL_GRAIN */
    SIM_MEM_VMM,     /* cuMemCreate: multiples of SIM_PHYSICAL_GRAIN */
    SIM_MEM_ARRAY,
    SIM_MEM_MODULE,
    SIM_MEM_GRAPH,
    SIM_MEM_OTHER,
    SIM_MEM_KINDS
};

#define SIM_LINEAR_GRAIN   512ull
#define SIM_PHYSICAL_GRAIN (2 * SIM_MIB)

/* -------- processes -------- */

enum sim_process_state { SIM_PROCESS_FREE, SIM_PROCESS_LIVE, SIM_PROCESS_ENDED };

struct sim_process_device {
    uint64_t gpu_ns; /* up to the device's last change of phase: sim_process_gpu_ns() adds the rest */
    uint64_t kernels;
    uint64_t copy_bytes;
    uint64_t memory[SIM_MEM_KINDS];
    uint64_t used_bytes; /* their sum */
    uint64_t peak_bytes;
    uint32_t contexts; /* living ones: NVML lists a process only then */
    uint32_t pad;
    uint64_t sm_ns;  /* of finished kernels, SMs times ns: sim_process_sm_ns() adds what runs */
    uint64_t copies; /* pieces of work that moved copy_bytes */
    uint64_t denied; /* allocations refused because the device was full */
    uint64_t
        unsure_ns; /* of gpu_ns: between the last look at a killed process and the one that found it dead */
    uint64_t sampled_gpu_ns[SIM_SAMPLES]; /* at the ends of samples, by number modulo SIM_SAMPLES */
};

enum sim_request {
    SIM_REQUEST_NONE,
    SIM_REQUEST_LOCK,
    SIM_REQUEST_SAVE,
    SIM_REQUEST_RESTORE,
    SIM_REQUEST_UNLOCK
};

#define SIM_ANSWERS     8
#define SIM_STATE_SAVED 2 /* CU_PROCESS_STATE_CHECKPOINTED: it holds nothing on any device */

/* What others ask of a process's helper thread, one thing at a time (checkpoint.c). */
struct sim_inbox {
    uint32_t state;                       /* CUprocessState */
    _Atomic uint32_t request;             /* enum sim_request: being worked on */
    uint64_t number;                      /* of the last request ever made */
    uint64_t deadline_ns;                 /* LOCK: give up then */
    uint32_t moves;                       /* RESTORE: devices go elsewhere, as new_device says */
    _Atomic uint32_t turns;               /* futex word: a request was answered */
    uint32_t new_device[SIM_MAX_DEVICES]; /* by old one */
    uint64_t answered;                    /* number of the last one answered */
    uint32_t answer[SIM_ANSWERS];         /* CUresult, by number modulo SIM_ANSWERS */
};

/* One loaded copy of the driver library.  Readers add up the records of one pid. */
struct sim_process {
    uint32_t state;
    uint32_t pid;
    uint64_t start_ticks; /* of /proc/PID/stat: tells a reused pid apart */
    uint64_t first_ns, ended_ns;
    _Atomic uint32_t wake; /* futex word: something that this process may wait for has changed */
    uint32_t has_life;     /* its helper thread holds `life` until it dies */
    pthread_mutex_t life;
    char command[64];
    struct sim_process_device device[SIM_MAX_DEVICES];
    uint64_t pid_space;    /* inode of its namespace of pids: its pid means something only there */
    _Atomic uint32_t kick; /* futex word: its helper thread shall look */
    uint32_t helper_tid;
    struct sim_inbox inbox;
    uint64_t pinned_bytes, peak_pinned_bytes; /* memory of the host: no device's */
};

/* -------- contexts, streams, commands -------- */

enum sim_engine {
    SIM_ENGINE_COMPUTE,
    SIM_ENGINE_H2D,
    SIM_ENGINE_D2H,
    SIM_ENGINES,
    SIM_ENGINE_NONE = SIM_ENGINES
};

enum sim_command_kind {
    SIM_CMD_WORK = 1,   /* takes work_ns of an engine (0 on SIM_ENGINE_NONE: only its data effect counts) */
    SIM_CMD_STAMP,      /* event record, in its context's turn */
    SIM_CMD_WAIT_EVENT, /* until an event's stamp has reached event_sequence */
    SIM_CMD_HOST,       /* until the owner's helper has run it (host function, wait for a value) */
    SIM_CMD_WAIT_QUEUE, /* until queue number `event` has done event_sequence commands */
};

enum sim_command_flag {
    SIM_CMD_KERNEL = 1,       /* counted as one; its pace depends on its SMs */
    SIM_CMD_WHOLE = 2,        /* starts only with all its SMs (cooperative) */
    SIM_CMD_OWN_PRIORITY = 4, /* not its stream's */
    SIM_CMD_FOREIGN = 8, /* waits for another process's event: its own process is woken when it may go on */
};

#define SIM_FOREIGN_LOOK_NS 1000000 /* who waits for another process looks so often whether that lives */

struct sim_command {
    uint8_t kind;
    uint8_t engine;
    uint8_t flags;   /* enum sim_command_flag */
    int8_t priority; /* lower goes first */
    uint32_t sms;    /* that it can use at a time; fewer make it slower */
    uint32_t event;  /* of WORK: stamped when all blocks have begun */
    uint32_t waves;  /* one after the other on those SMs: between two it gives way to a higher priority */
    uint64_t event_sequence;
    uint64_t ticket;  /* order of submission inside the context: legacy-stream barriers compare it */
    uint64_t work_ns; /* engine time, with all its SMs */
    uint64_t bytes;
    uint64_t total_ns; /* of all work submitted to the stream, this one included: for predictions */
    uint64_t end_ns;   /* when it was completed */
    uint32_t fault;    /* CUresult with which it breaks its context when it ends; 0: none */
    uint32_t dropped;  /* completed without effect, since its context had failed */
};

enum sim_stream_state {
    SIM_STREAM_EMPTY,   /* nothing queued */
    SIM_STREAM_BLOCKED, /* the head waits for an event or a barrier */
    SIM_STREAM_HOST,    /* the head waits for its owner's helper */
    SIM_STREAM_READY,   /* the head waits for its engine */
    SIM_STREAM_RUNNING, /* the head is on its engine, or was pre-empted there */
};

enum sim_stream_role { SIM_ROLE_BLOCKING, SIM_ROLE_NON_BLOCKING, SIM_ROLE_LEGACY };

/* A set of one device's SMs. */
struct sim_sms {
    uint64_t word[SIM_MAX_SMS / 64];
};

struct sim_queue {
    uint32_t context; /* 0: free */
    uint32_t next;    /* of the same context, or of the free list */
    uint32_t state, role;
    uint32_t engine;  /* READY and RUNNING: where */
    int32_t priority; /* lower goes first */
    uint32_t pad;
    uint32_t next_blocked;
    uint64_t head, tail;   /* commands completed and submitted, since the machine was made */
    uint64_t end_ns;       /* RUNNING and on its engine: when the head ends at its present pace */
    uint64_t left_sm_ns;   /* RUNNING on the compute engine: what it still needed at since_ns, SMs times ns */
    uint64_t submitted_ns; /* total work ever submitted */
    uint64_t queued_ns;    /* device time at which it entered its engine's queue: first come, first served */
    uint64_t since_ns;     /* its pace is this old */
    uint64_t wave_ns;      /* how far its blocks were at since_ns */
    uint32_t granted;      /* SMs that it holds */
    uint32_t pad2;
    struct sim_sms held;
};

struct sim_shared_context {
    uint32_t process; /* 1-based; 0: free */
    uint32_t device;
    uint32_t next;   /* of the same device, or of the free list */
    uint32_t first;  /* stream */
    uint32_t legacy; /* stream */
    uint32_t wants;  /* streams whose head waits for or holds the compute engine */
    uint32_t sms_in_use;
    uint32_t running; /* kernels on the engine, or pre-empted there */
    uint64_t ticket;
    uint64_t gpu_ns;
    uint32_t mate;      /* contexts that are on the engine together form a ring: green ones, MPS clients */
    uint32_t sms_limit; /* SMs that its kernels get at a time */
    uint64_t group;     /* the same for all of a ring */
    struct sim_sms allowed;
    uint32_t level; /* MPS client priority: 0 goes before 1 */
    /* A fatal fault of a client kills all clients of the device: sim_fault_clients() puts the CUresult here, for
     * the context's owner to find; 0: none. */
    _Atomic uint32_t fault;
    uint64_t sm_ns, kernels, copies, copy_bytes; /* as in sim_process_device */
    uint64_t switches;                           /* slices that began with a switch to it */
    uint64_t id;                                 /* of its process: cuCtxGetId, cuGreenCtxGetId */
};

/* One event's state.  `stamped` is stored last, so a reader that sees it may read stamp_ns without the lock.
 */
struct sim_event_slot {
    _Atomic uint64_t submitted;
    _Atomic uint64_t stamped;
    _Atomic uint64_t stamp_ns;
    uint64_t
        stream_and_command; /* of the last record: queue index << 48 | low 48 bits of its command number */
};

/* -------- devices -------- */

enum sim_phase { SIM_PHASE_IDLE, SIM_PHASE_SWITCH, SIM_PHASE_RUN };

struct sim_device {
    struct sim_profile profile;
    uint8_t uuid[16];
    uint32_t first_context;
    uint32_t phase;
    uint32_t current;         /* context on the compute engine; kept while idle */
    uint32_t copy_queue[2];   /* stream on each copy engine, 0 = idle */
    uint32_t copies_ready[2]; /* streams that wait for it */
    uint32_t next_current;    /* SWITCH: who comes */
    uint64_t phase_start_ns;  /* what came before is accounted */
    uint64_t slice_start_ns;
    uint64_t phase_end_ns; /* end of the switch, or of the slice (UINT64_MAX: nobody else wants it) */
    uint64_t next_ns;      /* when anything on this device happens next */
    uint64_t idle_ns, switch_ns, busy_ns, switches;
    uint64_t forgotten_gpu_ns; /* of ended processes whose records were reused */
    uint64_t copy_busy_ns[2];
    uint64_t used_bytes;
    struct sim_sms busy; /* RUN: SMs of kernels that are on the engine */
    uint64_t forgotten_sm_ns;
    uint32_t failing; /* contexts of it have failed and are still to be emptied (fault.c) */
    uint32_t lost;    /* fell off the bus: no context opens on it any more */
    uint64_t sampled_busy_ns[SIM_SAMPLES]; /* as in sim_process_device: switches count as busy */
};

/* -------- what processes share (share.h) -------- */

#define SIM_MAX_SHARES 16384
#define SIM_MAX_HOLDS  32768

enum sim_share_purpose {
    SIM_SHARE_LINEAR = 1, /* a range of its maker's device memory: cuIpcGetMemHandle */
    SIM_SHARE_PHYSICAL,   /* a file of its own: cuMemExportToShareableHandle */
    SIM_SHARE_POOL,       /* the same: a pool */
    SIM_SHARE_EVENT
};

struct sim_share {
    uint64_t serial;        /* names it in handles; 0: not whole */
    uint64_t inode;         /* of the memory's file */
    uint64_t offset, bytes; /* in the file and charged; an event: its slot, and 0 */
    uint32_t device, kind;  /* where and as what it is charged */
    uint32_t purpose;
    uint32_t payer;      /* process, one of the holders; 0: nothing is charged */
    uint32_t first_hold; /* holders, in the order in which they came */
    uint32_t maker;      /* process */
    uint32_t maker_fd;   /* LINEAR: the file, in the maker */
    uint32_t flags;      /* PHYSICAL: of the allocation */
    uint64_t size;       /* PHYSICAL: what can be mapped */
};

struct sim_hold {
    uint32_t share; /* 0: free */
    uint32_t process;
    uint32_t next;  /* of the same share, or of the free list */
    uint32_t count; /* how many times */
};

/* -------- the file -------- */

struct sim_undo {
    uint64_t offset, old;
};

struct sim_machine {
    uint64_t magic;
    uint32_t version;
    _Atomic uint32_t ready; /* stored last: a half-made file is never used */
    uint64_t size_bytes;
    pthread_mutex_t lock;
    uint64_t boot_ns;
    uint64_t now_ns;  /* the model's present */
    uint64_t next_ns; /* nothing happens on any device before this */
    uint64_t reap_ns; /* when to look for dead processes again */
    uint64_t slice_ns, switch_ns;
    uint32_t eager_stamps; /* an event record does not wait for its context's turn */
    uint32_t device_count;
    uint32_t live_count;
    uint32_t live[SIM_MAX_LIVE];
    uint32_t free_context, contexts_made; /* slots beyond contexts_made were never used */
    uint32_t free_queue, queues_made;
    uint32_t first_blocked; /* streams whose head waits for an event or a barrier */
    uint32_t journal_count;
    struct sim_undo journal[SIM_JOURNAL];
    uint16_t block_owner[SIM_EVENT_BLOCKS]; /* process whose events are in that block */
    struct sim_device device[SIM_MAX_DEVICES];
    struct sim_process process[SIM_MAX_PROCESSES + 1];
    struct sim_shared_context context[SIM_MAX_CONTEXTS + 1];
    struct sim_queue queue[SIM_MAX_STREAMS + 1];
    struct sim_event_slot event[SIM_EVENT_BLOCKS * SIM_BLOCK_EVENTS];
    struct sim_command command[SIM_MAX_STREAMS + 1][SIM_QUEUE_DEPTH];
    uint32_t mps; /* SIMGPU_MPS=1: all contexts of a device are on its engine together */
    uint32_t
        virtual_clock;  /* only programs on the clock beside it (shim/sim/clock) bring it to the present */
    uint64_t groups;    /* dealt out */
    uint64_t sample_ns; /* length of a sample; they follow each other from boot_ns on */
    uint64_t sample_due_ns; /* when the next one ends: all words of samples change with this one (sample.c) */
    uint64_t sample_end_us[SIM_SAMPLES]; /* CLOCK_REALTIME */
    char boot_id[40];                    /* of the kernel that runs */
    uint32_t shares_made, last_share;
    uint32_t holds_made, free_hold;
    uint64_t last_serial; /* of a share */
    struct sim_share share[SIM_MAX_SHARES + 1];
    struct sim_hold hold[SIM_MAX_HOLDS + 1];
};

#endif
