/* abi.h -- the shared-memory ABI: what the controller, a tenant's processes and its neighbours tell each other.
 *
 * Three files per tenant, each with one owning party:
 *
 *   limits    written by the controller, mapped read-only by the tenant's processes;
 *   usage     written by the tenant's processes, read by the controller only;
 *   activity  written by the tenant's processes, read by every other tenant of the machine.
 *
 * C and Cython both read this header; nobody else states an offset.  Changing a number here means raising
 * GS_ABI_VERSION: a process that finds another version refuses to run rather than guess.
 *
 * Times are CLOCK_MONOTONIC nanoseconds, memory is bytes, shares are parts per million of a device's time. */
#ifndef GS_ABI_H
#define GS_ABI_H

#include <stddef.h>
#include <stdint.h>

#define GS_ABI_MAGIC   0x3165726168736721ull /* "!gshare1", little endian */
#define GS_ABI_VERSION 4u

#define GS_MAX_DEVICES  16  /* per machine */
#define GS_MAX_SLOTS    512 /* processes per tenant */
#define GS_MAX_TENANTS  256 /* per machine */
#define GS_MAX_LANES    54  /* busy words per tenant and device; slot s uses lane s % GS_MAX_LANES */
#define GS_MAX_REFUSALS 128 /* a tenant's latest ones */
#define GS_DIRECTIONS   2   /* over the bus: 0 from the host to the device, 1 from the device to the host */

/* Memory is accounted in rows: the devices', and the pinned memory of the host. */
#define GS_HOST_ROW GS_MAX_DEVICES
#define GS_ROWS     (GS_MAX_DEVICES + 1)

/* What a charge is for. */
enum gs_charge {
    GS_LINEAR,
    GS_MANAGED,
    GS_POOL,
    GS_PHYSICAL,
    GS_CONTEXT,
    GS_ARRAY,
    GS_GRAPH,
    GS_MODULE,
    GS_CHARGES,
};

#define GS_NO_LIMIT_BYTES UINT64_MAX
#define GS_NO_CAP_PPM     UINT32_MAX       /* not metered at all */
#define GS_METERED_PPM    (UINT32_MAX - 1) /* measured and not capped: a neighbour's cap needs to know */
#define GS_FULL_PPM       1000000u

#define GS_PAGE 4096

enum gs_file_kind { GS_FILE_LIMITS = 1, GS_FILE_USAGE = 2, GS_FILE_ACTIVITY = 3 };

/* First in every file.  `ready` is stored last, with release: a half-made file is never mapped. */
struct gs_header {
    uint64_t magic;
    uint32_t version;
    uint32_t kind; /* enum gs_file_kind */
    uint64_t size_bytes;
    uint32_t ready;
    uint8_t pad[36];
};

/* -------- limits: one per tenant -------- */

/* The compute allowance is a line: at time t it is allowance_ns + (t - t0_ns) * rate_ppm / 1e6.  The controller
 * re-bases it at every rate change, so debt is never rescaled.  line_seq is a seqlock: odd while being written.
 *
 * A rate that borrows from others is a lease: should the controller not renew it, the line goes on from lease_until_ns
 * with guarantee_ppm. */
struct gs_device_limits {
    uint8_t uuid[16];
    uint64_t memory_limit_bytes;  /* enforced; GS_NO_LIMIT_BYTES: nothing is; 0: the device is not granted */
    uint64_t device_memory_bytes; /* what the device really has */
    uint64_t context_bytes;       /* upper bound of what one context takes, charged at its creation */
    uint32_t cap_ppm;             /* GS_NO_CAP_PPM: not metered; the one word that the unlimited path reads */
    uint32_t line_seq;
    uint64_t t0_ns;
    int64_t allowance_ns;
    uint32_t rate_ppm;
    uint32_t guarantee_ppm;      /* the tenant's without borrowing */
    uint64_t burst_ns;           /* an idle tenant saves no more than this */
    uint64_t resume_ns;          /* a closed gate re-opens once this much is available */
    uint64_t in_flight_ns;       /* cap on work queued and not finished; 0 = none */
    uint64_t memory_quota_bytes; /* granted: the limit, and what was taken off it for uncharged memory */
    uint64_t lease_until_ns;     /* 0: the rate is no lease */
    uint64_t copy_bytes_per_s[GS_DIRECTIONS]; /* over the bus; 0: no limit */
};

/* In turns, a device is one tenant's at a time: turn[k]'s from from_ns of each period to the next one's from_ns.  Whose
 * turn it is follows from this table, the clock and who is busy or waiting, so that all compute the same.  The table is
 * the same in every tenant's limits; `seq` is its seqlock. */
struct gs_turn {
    uint32_t from_ns; /* a period is shorter than four seconds */
    uint32_t tenant_index;
};

struct gs_turns {
    uint32_t seq;
    uint32_t count;
    uint64_t period_ns; /* 0: no turns, tenants overlap */
    uint8_t pad[16];
    struct gs_turn turn[GS_MAX_TENANTS]; /* each has one place at most */
};

struct gs_limits {
    struct gs_header header;
    char tenant[64];        /* NUL-terminated */
    uint32_t tenant_index;  /* whose record in the activity file is ours */
    uint32_t tenants_bound; /* one more than the highest index in use: how far neighbours need to look */
    uint32_t device_count;
    uint32_t paused;                     /* nothing may be launched */
    uint64_t above[GS_MAX_TENANTS / 64]; /* while these tenants are busy, nothing may be launched */
    uint32_t below;                      /* whether there are tenants of lower priority */
    uint8_t pad[12];
    struct gs_device_limits device[GS_ROWS]; /* every device of the machine, granted or not */
    struct gs_turns turns[GS_MAX_DEVICES];
};

/* -------- usage: one per tenant -------- */

/* A tenant's memory on one device, changed by one 16-byte compare-and-swap.  The word names the change that made
 * it (slot and sequence), so that a repairer can tell whether a dead process's last change took effect. */
struct gs_total {
    uint64_t used_bytes;
    uint64_t last; /* slot << 48 | sequence */
} __attribute__((aligned(16)));

struct gs_device_usage {
    struct gs_total total;
    int64_t spent_ns; /* token bucket: GPU time charged so far, changed by fetch-add */
    uint64_t peak_bytes;
    uint64_t copied_bytes[GS_DIRECTIONS]; /* over the bus while there was a limit, charged so far */

    /* Copies under a limit, in the order in which they came: how many bytes they are, and of how many the rate had
     * allowed by the time in `last`; see copy_rate.c. */
    struct gs_total copy_allowed[GS_DIRECTIONS];
    uint64_t copy_queued_bytes[GS_DIRECTIONS];
    uint64_t copy_waited_ns[GS_DIRECTIONS];
    uint64_t room_waited_ns; /* by launches, until enough of what was in flight was through */
    uint8_t pad[8];
};

/* What one process holds on one device.  held_bytes[s & 1] is what it holds once change s has taken effect. */
struct gs_slot_device {
    uint64_t held_bytes[2];
    uint64_t sequence; /* of the change being made, or of the last one made */
    uint64_t
        applied; /* highest sequence known to have taken effect: set by whoever overwrites gs_total.last */
    uint64_t gpu_ns; /* measured and charged */
    uint64_t launches;
    uint64_t throttled_ns;
    uint64_t denied;                    /* allocations refused over quota */
    uint64_t charged_bytes[GS_CHARGES]; /* what it holds, by what it is for */
};

struct gs_slot {
    uint32_t pid;         /* as the process sees itself */
    uint32_t pid_space;   /* its PID namespace's inode: tells same pids apart; 0: /proc does not say */
    uint64_t start_ticks; /* field 22 of /proc/self/stat: tells a reused pid */
    uint8_t pad[48];
    struct gs_slot_device device[GS_ROWS];
};

/* An allocation that would have passed the limit.  `stamp` is 2n - 1 while the n-th one of the tenant (from 1) is
 * being written, and 2n afterwards. */
struct gs_refusal {
    uint64_t stamp;
    uint64_t time_ns;
    uint64_t bytes; /* what would have been charged */
    uint64_t used_bytes;
    uint64_t limit_bytes;
    uint32_t pid; /* as in the slot */
    uint32_t slot;
    int32_t row;  /* negative: a device that is not granted */
    char api[60]; /* the function that was called, NUL-terminated */
    uint8_t pad[16];
};

/* Slot n has two bytes of the usage file, from GS_SLOT_LOCK(n) on.  A lock (OFD) on the first one alone means: its
 * process is alive.  One on both means: somebody empties the slot, for whom it is not, or not yet, the own one.  The
 * kernel tells which, in one answer: the length of the lock. */
#define GS_SLOT_LOCK_BASE ((int64_t)1 << 40)
#define GS_SLOT_LOCK(n)   (GS_SLOT_LOCK_BASE + 2 * (int64_t)(n))

struct gs_usage {
    struct gs_header header;
    struct gs_device_usage device[GS_ROWS];
    uint64_t claimed[GS_MAX_SLOTS / 64]; /* bit n: slot n was claimed, and not emptied since */
    uint64_t refusals;                   /* begun so far; the n-th is in refusal[(n - 1) % GS_MAX_REFUSALS] */
    uint8_t pad[1784];
    struct gs_refusal refusal[GS_MAX_REFUSALS];
    struct gs_slot slot[GS_MAX_SLOTS];
};

/* -------- activity: one file per machine, one record per tenant -------- */

/* Busy words are leases: a process that dies stops renewing and is idle by the clock alone. */
struct gs_device_activity {
    uint64_t busy_until_ns; /* highest of the lanes: lets a reader skip an idle tenant */
    uint64_t gpu_ns;        /* own GPU time, published */
    uint64_t throttled_ns;
    uint64_t waiting_until_ns; /* a lease: somebody wants to launch */
    uint64_t lanes;            /* bit n: lane n has been used, and is worth a look */
    uint64_t light_ns;         /* taken by lanes that come and go within a slice, switches included */
    uint64_t switch_ns;        /* what it took to switch to us */
    uint64_t slice_ns;         /* how long a slice is, measured; 0: unknown */
    uint32_t through;          /* futex: counts how often all it had in flight was through */
    uint32_t pad;
    int64_t owed_from_ns; /* in turns of long kernels, see turn.h; 0: its kernels are short */
    uint64_t lane_busy_until_ns[GS_MAX_LANES]; /* odd: comes and goes within a slice */
};

struct gs_activity {
    struct gs_header header;
    uint8_t pad0[GS_PAGE - 64];
    struct gs_device_activity device[GS_MAX_DEVICES];
};

/* -------- the hand-over: where the files have no names -------- */

/* On a machine-wide controller the files are memory that its keeper holds, and hands to whoever may run in the tenant
 * and connects to the socket in the tenant's directory: one struct gs_handed, and with it descriptors of the limits, of
 * the usage (an open file of its own, for the slots' locks), of the own segment of the activity file, and of all its
 * segments.  All but usage and the own segment are for reading.
 *
 * A segment is some records in a file of their own, which one user's tenants, or one permanent tenant, write. */
#define GS_SEGMENT_TENANTS 4
#define GS_SEGMENTS        (GS_MAX_TENANTS / GS_SEGMENT_TENANTS)
#define GS_HANDED_FIRST    3 /* limits, usage, own segment */
#define GS_HANDOVER_SOCKET "socket"

enum gs_handed_status { GS_HANDED = 0, GS_NOT_YOURS = 1 };

struct gs_handed {
    uint64_t magic;
    uint32_t version; /* GS_ABI_VERSION of what is handed over */
    uint32_t status;  /* enum gs_handed_status; without GS_HANDED there are no descriptors */
    uint32_t own_segment;
    uint32_t segments;
    uint8_t pad[8];
};

#define GS_ASSERT_ABI(what) _Static_assert(what, #what)
GS_ASSERT_ABI(sizeof(struct gs_header) == 64);
GS_ASSERT_ABI(sizeof(struct gs_device_limits) == 128);
GS_ASSERT_ABI(offsetof(struct gs_limits, device) == 192);
GS_ASSERT_ABI(sizeof(struct gs_turns) == 2080);
GS_ASSERT_ABI(sizeof(struct gs_limits) == 192 + 17 * 128 + 16 * 2080);
GS_ASSERT_ABI(sizeof(struct gs_device_usage) == 128);
GS_ASSERT_ABI(sizeof(struct gs_slot_device) == 128);
GS_ASSERT_ABI(sizeof(struct gs_slot) == 64 + 17 * 128);
GS_ASSERT_ABI(sizeof(struct gs_refusal) == 128);
GS_ASSERT_ABI(offsetof(struct gs_usage, refusal) == GS_PAGE);
GS_ASSERT_ABI(offsetof(struct gs_usage, slot) == GS_PAGE + GS_MAX_REFUSALS * 128);
GS_ASSERT_ABI(sizeof(struct gs_device_activity) == 512);
GS_ASSERT_ABI(sizeof(struct gs_activity) == 3 * GS_PAGE);
GS_ASSERT_ABI(sizeof(struct gs_handed) == 32);

#endif
