# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Lends what tenants do not use of their devices: looks at all of them every PERIOD_NS, and writes leases.

What a tenant wants is told from what it used and whether its share kept it waiting; rates follow by water-filling
(fill.pxi) and are written into the limits as leases of LEASE_NS, so that they end with whoever wrote them.  A lease is
written anew when its rate has changed noticeably, or half of its time is over: when nothing changes, nothing is written.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec

include "../shim/abi.pxi"
include "fill.pxi"
include "maps.pxi"

cdef extern from "bucket.h":
    struct gs_line:
        uint64_t lease_until_ns
        uint32_t rate_ppm, guarantee_ppm
    bint gs_line_read(const gs_device_limits *limits, gs_line *line) nogil
    int64_t gs_line_at(const gs_line *line, uint64_t now_ns) nogil

cdef enum:
    PERIOD = 10000000

PERIOD_NS = PERIOD
LEASE_NS = 200_000_000

cdef uint64_t LEASE = LEASE_NS
cdef enum:
    LOOKS = 5              # that what a tenant uses is an average of: 50 ms
    EDGE_LOOKS = 3         # that a tenant which has just come back gets its guarantee for
    SAVED_ENOUGH = 10000000  # GPU time: who has that much to spend was not kept waiting by its share
    LEAST_APART = 2000000  # two looks that are closer tell nothing
    ROOM_PART = 4          # of the time waited for room: more of it, and a tenant has always something to run
    MOST_LOST = 300000     # ppm of the time that is reckoned to be lost by switches


cdef struct Look:
    uint64_t at_ns, gpu_ns, throttled_ns, room_waited_ns, switch_ns
    bint busy


cdef struct Tenant:
    gs_device_limits *limits
    const gs_device_usage *usage
    const gs_device_activity *activity
    bint paused
    int looks                    # how many there are, up to LOOKS
    int at                       # where the next one goes
    uint32_t demand_ppm
    gs_line line
    Look look[5]


cdef uint32_t demand_of(uint64_t used_ppm, bint waited, bint claims, uint32_t guarantee_ppm,
                        uint32_t ceiling_ppm) noexcept nogil:
    """All that it may have, where its share kept it waiting; else what it used, and some more, or what it claims."""
    cdef uint64_t wanted = used_ppm + used_ppm // 4 + GS_FULL_PPM // 100
    if waited:
        return ceiling_ppm
    if claims and wanted < guarantee_ppm:
        wanted = guarantee_ppm
    return <uint32_t> min(wanted, <uint64_t> ceiling_ppm)


def demand(used_ppm, waited, claims, guarantee_ppm, ceiling_ppm):
    """What a tenant could use, in ppm, given what it used lately, and whether it waited for more, or claims its guarantee."""
    return demand_of(used_ppm, waited, claims, guarantee_ppm, ceiling_ppm)


cdef uint64_t with_loss(uint64_t used_ns, uint64_t elapsed_ns, uint64_t switch_ns) noexcept nogil:
    """What a tenant is charged for what it used: with its part of what switches take (gs_loss_on_top)."""
    cdef uint64_t lost_ppm = min(switch_ns * GS_FULL_PPM // elapsed_ns, <uint64_t> MOST_LOST)
    return used_ns * GS_FULL_PPM // (GS_FULL_PPM - lost_ppm)


cdef bint look_at(Tenant *tenant, Want *want, uint64_t now_ns, uint64_t switch_ns) noexcept nogil:
    """Find out what it wants; false where that cannot be told yet.  `switch_ns` is what all say switches took."""
    cdef const Look *oldest
    cdef const Look *recent
    cdef Look now
    cdef bint waited, claims
    cdef uint64_t used, elapsed
    now.at_ns = now_ns
    now.gpu_ns = load64(&tenant.activity.gpu_ns)
    now.throttled_ns = load64(&tenant.activity.throttled_ns)
    now.room_waited_ns = load64(&tenant.usage.room_waited_ns)
    now.switch_ns = switch_ns
    now.busy = load64(&tenant.activity.busy_until_ns) > now_ns
    if not gs_line_read(tenant.limits, &tenant.line):
        return False  # only this process writes it
    if tenant.looks == 0:
        tenant.look[0] = now
        tenant.looks, tenant.at = 1, 1
        return False
    oldest = &tenant.look[tenant.at if tenant.looks == LOOKS else 0]
    recent = &tenant.look[(tenant.at + LOOKS - min(tenant.looks, <int> EDGE_LOOKS)) % LOOKS]
    elapsed = now_ns - oldest.at_ns
    if elapsed < LEAST_APART or now_ns < oldest.at_ns:
        return False
    used = with_loss(max(now.gpu_ns, oldest.gpu_ns) - oldest.gpu_ns, elapsed,
                     max(switch_ns, oldest.switch_ns) - oldest.switch_ns)
    waited = (now.throttled_ns > oldest.throttled_ns and
              gs_line_at(&tenant.line, now_ns) - <int64_t> load64(&tenant.usage.spent_ns) < SAVED_ENOUGH)
    # Who waits for what it has in flight could use more than others let it have.
    claims = now.busy and (not recent.busy or now.room_waited_ns - oldest.room_waited_ns > elapsed // ROOM_PART)
    if used != 0 or waited or claims or not now.busy:  # else something long runs that nobody has measured yet
        tenant.demand_ppm = demand_of(used * GS_FULL_PPM // elapsed, waited, claims, want.guarantee_ppm, want.ceiling_ppm)
    if tenant.paused:
        tenant.demand_ppm = 0
    want.demand_ppm = tenant.demand_ppm
    tenant.look[tenant.at] = now
    tenant.at = (tenant.at + 1) % LOOKS
    tenant.looks = min(tenant.looks + 1, <int> LOOKS)
    return True


cdef void lend(Tenant *tenant, uint32_t rate_ppm, uint64_t now_ns) noexcept nogil:
    """Write the rate, unless what is written will do."""
    cdef const gs_line *line = &tenant.line
    cdef uint32_t guarantee = line.guarantee_ppm
    cdef uint32_t before = guarantee if line.lease_until_ns != 0 and line.lease_until_ns <= now_ns else line.rate_ppm
    cdef uint32_t apart = rate_ppm - before if rate_ppm > before else before - rate_ppm
    cdef bint ends = before != guarantee and line.lease_until_ns < now_ns + LEASE // 2
    cdef gs_device_limits *row = tenant.limits
    cdef int64_t allowance
    cdef uint32_t sequence
    if apart * 32 <= before and not ends and (rate_ppm != guarantee or before == guarantee):
        return
    allowance = gs_line_at(line, now_ns)
    sequence = row.line_seq | 1
    store32_then_fence(&row.line_seq, sequence)
    store64(&row.t0_ns, now_ns)
    store64(&row.allowance_ns, <uint64_t> allowance)
    store32(&row.rate_ppm, rate_ppm)
    store64(&row.lease_until_ns, now_ns + LEASE if rate_ppm != guarantee else 0)
    store32(&row.line_seq, sequence + 1)


cdef struct Shared:
    int count
    Tenant *tenants
    Want *wants
    uint32_t *rates


cdef void look_at_all(Shared *on, uint64_t now_ns) noexcept nogil:
    """Look at everybody on a device, and lend what they leave."""
    cdef int i
    cdef bint told = True
    cdef uint64_t switch_ns = 0
    for i in range(on.count):
        switch_ns += load64(&on.tenants[i].activity.switch_ns)
    for i in range(on.count):
        told = look_at(&on.tenants[i], &on.wants[i], now_ns, switch_ns) and told
    if not told:
        return
    water_fill(on.wants, on.rates, on.count, GS_FULL_PPM)
    for i in range(on.count):
        if on.wants[i].weight != 0:
            lend(&on.tenants[i], on.rates[i], now_ns)


cdef class Device:
    """The tenants that share one device, with the words that each of them reads and writes."""

    cdef Shared _on
    cdef int _mapped
    cdef Py_buffer *_maps

    def __cinit__(self, tenants):
        """Of each tenant: its limits', usage's and the machine's activity's memory, its index, the device's row,
        its guarantee, its ceiling, its weight (0: it does not borrow), and whether it is paused."""
        cdef int count = len(tenants)
        self._on.tenants = <Tenant *> calloc(max(count, 1), sizeof(Tenant))
        self._on.wants = <Want *> calloc(max(count, 1), sizeof(Want))
        self._on.rates = <uint32_t *> calloc(max(count, 1), sizeof(uint32_t))
        self._maps = <Py_buffer *> calloc(max(3 * count, 1), sizeof(Py_buffer))
        if self._on.tenants == NULL or self._on.wants == NULL or self._on.rates == NULL or self._maps == NULL:
            raise MemoryError
        cdef Tenant *tenant
        cdef gs_limits *limits
        for limits_map, usage_map, activity_map, index, row, guarantee, ceiling, weight, paused in tenants:
            if not 0 <= row < GS_MAX_DEVICES or not 0 <= index < GS_MAX_TENANTS:
                raise IndexError(f"tenant {index}, device {row}")
            tenant = &self._on.tenants[self._on.count]
            limits = <gs_limits *> self._map(limits_map, PyBUF_WRITABLE, sizeof(gs_limits))
            tenant.limits = &limits.device[<int> row]
            tenant.usage = &(<const gs_usage *> self._map(usage_map, PyBUF_SIMPLE, sizeof(gs_usage))).device[<int> row]
            tenant.activity = &(<const gs_activity *> self._map(
                activity_map, PyBUF_SIMPLE, GS_MAX_TENANTS * sizeof(gs_activity)
            ))[<int> index].device[<int> row]
            tenant.paused = paused
            self._on.wants[self._on.count] = Want(guarantee, ceiling, 0, weight)
            self._on.count += 1

    cdef void *_map(self, memory, int flags, uint64_t size) except NULL:
        return mapped(memory, flags, size, self._maps, &self._mapped)

    def __dealloc__(self):
        unmap(self._maps, self._mapped)
        free(self._on.tenants)
        free(self._on.wants)
        free(self._on.rates)
        free(self._maps)

    def tick(self, uint64_t now_ns):
        """Look at everybody, and lend what they leave."""
        look_at_all(&self._on, now_ns)


cdef class Round:
    """The devices that are looked at every PERIOD_NS, which needs no Python and does not wait for it.

    As a context: nobody is looked at meanwhile.
    """

    cdef PyThread_type_lock _lock
    cdef object _devices
    cdef Shared **_on
    cdef int _count

    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)
        PyMem_Free(self._on)

    def __enter__(self):
        with nogil:
            PyThread_acquire_lock(self._lock, 1)

    def __exit__(self, *exception):
        PyThread_release_lock(self._lock)

    def replace(self, devices):
        """Look after these from now on; called within the context."""
        cdef Device device
        cdef void *on = PyMem_Realloc(self._on, max(len(devices), 1) * sizeof(Shared *))
        if on == NULL:
            raise MemoryError
        self._on = <Shared **> on
        self._devices, self._count = tuple(devices), 0
        for device in self._devices:
            self._on[self._count] = &device._on
            self._count += 1

    def tick(self, uint64_t now_ns):
        """Look at every device once; called within the context."""
        self._tick(now_ns)

    cdef void _tick(self, uint64_t now_ns) noexcept nogil:
        cdef int i
        for i in range(self._count):
            look_at_all(self._on[i], now_ns)

    def run(self):
        """Look at all of them every PERIOD_NS until there are none."""
        cdef timespec pause = timespec(0, PERIOD), now
        with nogil:
            while True:
                nanosleep(&pause, NULL)
                PyThread_acquire_lock(self._lock, 1)
                if self._count == 0:
                    break
                clock_gettime(CLOCK_MONOTONIC, &now)
                self._tick(<uint64_t> now.tv_sec * 1000000000 + now.tv_nsec)
                PyThread_release_lock(self._lock)
            PyThread_release_lock(self._lock)
