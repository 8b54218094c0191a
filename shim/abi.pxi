# The C declarations behind abi.pyx and its parts: the layout of src/abi.h, and atomic access to its words.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "abi.h":
    const uint64_t GS_ABI_MAGIC
    const uint32_t GS_ABI_VERSION
    const uint32_t GS_MAX_DEVICES, GS_MAX_SLOTS, GS_MAX_TENANTS, GS_MAX_LANES, GS_MAX_REFUSALS, GS_DIRECTIONS
    const uint32_t GS_HOST_ROW, GS_ROWS
    const uint32_t GS_LINEAR, GS_MANAGED, GS_POOL, GS_PHYSICAL, GS_CONTEXT, GS_ARRAY, GS_GRAPH, GS_MODULE, GS_CHARGES
    const uint64_t GS_NO_LIMIT_BYTES
    const uint32_t GS_NO_CAP_PPM, GS_METERED_PPM, GS_FULL_PPM
    const uint32_t GS_FILE_LIMITS, GS_FILE_USAGE, GS_FILE_ACTIVITY
    const int64_t GS_SLOT_LOCK_BASE
    const uint32_t GS_SEGMENTS, GS_SEGMENT_TENANTS
    const uint32_t GS_HANDED, GS_NOT_YOURS
    const char *GS_HANDOVER_SOCKET

    struct gs_header:
        uint64_t magic
        uint32_t version, kind
        uint64_t size_bytes
        uint32_t ready

    struct gs_device_limits:
        uint8_t uuid[16]
        uint64_t memory_limit_bytes, device_memory_bytes, context_bytes
        uint32_t cap_ppm, line_seq
        uint64_t t0_ns
        int64_t allowance_ns
        uint32_t rate_ppm, guarantee_ppm
        uint64_t burst_ns, resume_ns, in_flight_ns, memory_quota_bytes, lease_until_ns
        uint64_t copy_bytes_per_s[0]

    struct gs_turn:
        uint32_t from_ns, tenant_index

    struct gs_turns:
        uint32_t seq, count
        uint64_t period_ns
        gs_turn turn[0]

    struct gs_limits:
        gs_header header
        char tenant[64]
        uint32_t tenant_index, tenants_bound, device_count, paused
        uint64_t above[0]
        uint32_t below
        gs_device_limits device[0]
        gs_turns turns[0]

    struct gs_total:
        uint64_t used_bytes, last

    struct gs_device_usage:
        gs_total total
        int64_t spent_ns
        uint64_t peak_bytes
        uint64_t copied_bytes[0]
        uint64_t copy_waited_ns[0]
        uint64_t room_waited_ns

    struct gs_slot_device:
        uint64_t held_bytes[2]
        uint64_t sequence, applied, gpu_ns, launches, throttled_ns, denied
        uint64_t charged_bytes[0]

    struct gs_slot:
        uint32_t pid, pid_space
        uint64_t start_ticks
        gs_slot_device device[0]

    struct gs_refusal:
        uint64_t stamp, time_ns, bytes, used_bytes, limit_bytes
        uint32_t pid, slot
        int32_t row
        char api[60]

    struct gs_usage:
        gs_header header
        gs_device_usage device[0]
        uint64_t claimed[0]
        uint64_t refusals
        gs_refusal refusal[0]
        gs_slot slot[0]

    struct gs_device_activity:
        uint64_t busy_until_ns, gpu_ns, throttled_ns, waiting_until_ns, switch_ns
        uint64_t lane_busy_until_ns[0]

    struct gs_activity:
        gs_header header
        gs_device_activity device[0]

    struct gs_handed:
        uint64_t magic
        uint32_t version, status, own_segment, segments

cdef extern from * nogil:
    """
    #include <fcntl.h>

    static inline uint32_t load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline uint64_t load64(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE); }
    /* No earlier load may be done after this one. */
    static inline uint64_t load_after(const uint64_t *p)
    {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return __atomic_load_n(p, __ATOMIC_RELAXED);
    }
    static inline void store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void store64(void *p, uint64_t v) { __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE); }

    /* No later store may be seen before this one. */
    static inline void store32_then_fence(uint32_t *p, uint32_t v)
    {
        __atomic_store_n(p, v, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }

    #ifndef F_OFD_GETLK
    #define F_OFD_GETLK 36 /* needs _GNU_SOURCE, which Python's own headers may or may not have set */
    #endif

    /* 1: the slot's process is alive, 0: it is not, -1: errno says why this cannot be told.  A longer lock is that of
       somebody who empties the slot. */
    static inline int slot_is_owned(int fd, uint32_t slot)
    {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = GS_SLOT_LOCK(slot), .l_len = 1};

        return fcntl(fd, F_OFD_GETLK, &lock) == 0 ? lock.l_type != F_UNLCK && lock.l_len == 1 : -1;
    }
    """
    uint32_t load32(const uint32_t *p)
    uint64_t load64(const void *p)
    uint64_t load_after(const uint64_t *p)
    void store32(uint32_t *p, uint32_t v)
    void store64(void *p, uint64_t v)
    void store32_then_fence(uint32_t *p, uint32_t v)
    int slot_is_owned(int fd, uint32_t slot)
