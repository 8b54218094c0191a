# What the controller allows a tenant.  Part of abi.pyx.

cdef extern from "bucket.h":
    struct gs_line:
        pass
    bint gs_line_read(const gs_device_limits *limits, gs_line *line) nogil
    int64_t gs_line_at(const gs_line *line, uint64_t now_ns) nogil


def _rate_ppm(cap_ppm):
    """The slope of the line that goes with a cap; where there is none, one that no device can follow."""
    return {GS_NO_CAP_PPM: 0, GS_METERED_PPM: 10 * GS_FULL_PPM}.get(cap_ppm, cap_ppm)


cdef _fill_device(gs_device_limits *to, device, uint64_t now_ns):
    if len(device.uuid) != 16:
        raise ValueError(f"a device's UUID has 16 bytes, not {len(device.uuid)}")
    cdef bytes uuid = bytes(device.uuid)
    memcpy(to.uuid, <const char *> uuid, 16)
    to.memory_limit_bytes = device.memory_limit_bytes
    to.device_memory_bytes = device.device_memory_bytes
    to.context_bytes = device.context_bytes
    to.cap_ppm = device.cap_ppm
    to.rate_ppm = _rate_ppm(device.cap_ppm) if device.guarantee_ppm is None else device.guarantee_ppm
    to.guarantee_ppm = to.rate_ppm
    to.t0_ns = now_ns
    to.burst_ns = device.burst_ns
    to.resume_ns = device.resume_ns
    to.in_flight_ns = device.in_flight_ns
    quota = device.memory_quota_bytes
    to.memory_quota_bytes = device.memory_limit_bytes if quota is None else quota
    to.copy_bytes_per_s[0], to.copy_bytes_per_s[1] = device.copy_bytes_per_s


def create_limits(path, tenant, tenant_index, devices, *, now_ns, tenants_bound=MAX_TENANTS,
                  host_limit_bytes=NO_LIMIT_BYTES):
    """Write a tenant's limits; a cap given here starts with an allowance of 0 at `now_ns` (CLOCK_MONOTONIC)."""
    cdef gs_limits limits
    cdef bytes name = tenant.encode()
    if len(devices) > GS_MAX_DEVICES:
        raise ValueError(f"{len(devices)} devices; the most is {GS_MAX_DEVICES}")
    if not 0 < len(name) < 64:
        raise ValueError(f"tenant name {tenant!r}: 1 to 63 bytes")
    if not 0 <= tenant_index < GS_MAX_TENANTS:
        raise ValueError(f"tenant index {tenant_index}; the most is {GS_MAX_TENANTS - 1}")
    memset(&limits, 0, sizeof(limits))
    memcpy(limits.tenant, <const char *> name, len(name))
    limits.tenant_index = tenant_index
    limits.tenants_bound = tenants_bound
    limits.device_count = len(devices)
    for i, device in enumerate(devices):
        _fill_device(&limits.device[<int> i], device, now_ns)
    limits.device[GS_HOST_ROW].memory_limit_bytes = host_limit_bytes
    limits.device[GS_HOST_ROW].memory_quota_bytes = host_limit_bytes
    limits.device[GS_HOST_ROW].cap_ppm = GS_NO_CAP_PPM
    _fill_header(&limits, GS_FILE_LIMITS, sizeof(limits))
    _write_file(path, (<const char *> &limits)[:sizeof(limits)])


cdef class Limits(_File):
    """A tenant's limits.  The controller opens them writable; there is one writer."""

    cdef gs_limits *_limits

    def __init__(self, path, *, writable=False):
        self._map_file(path, writable, GS_FILE_LIMITS, sizeof(gs_limits), 1)
        self._limits = <gs_limits *> self._at
        if self._limits.device_count > GS_MAX_DEVICES:
            count = self._limits.device_count
            self.close()
            raise AbiError(f"{self.path}: a damaged limits file: {count} devices ({_WAY_OUT})")

    cdef gs_device_limits *_device(self, index) except NULL:
        self._check_open()
        if index != GS_HOST_ROW:
            _check_device(index, self._limits.device_count)
        return &self._limits.device[<int> index]

    cdef gs_device_limits *_writable_device(self, index) except NULL:
        self._check_writable()
        return self._device(index)

    @property
    def tenant(self):
        self._check_open()
        return (<bytes> self._limits.tenant[:64]).split(b"\0", 1)[0].decode(errors="replace")

    @property
    def tenant_index(self):
        self._check_open()
        return self._limits.tenant_index

    @property
    def tenants_bound(self):
        self._check_open()
        return load32(&self._limits.tenants_bound)

    @tenants_bound.setter
    def tenants_bound(self, value):
        self._check_writable()
        store32(&self._limits.tenants_bound, value)

    @property
    def devices(self):
        self._check_open()
        return tuple(self.device(i) for i in range(self._limits.device_count))

    def device(self, index):
        """One device's limits, or those of HOST_ROW, where only memory counts."""
        cdef gs_device_limits *row = self._device(index)
        return DeviceLimits(  # in its order: names would take twice the time, and this is read often
            bytes(row.uuid[:16]), row.device_memory_bytes, load64(&row.memory_limit_bytes), load64(&row.context_bytes),
            load32(&row.cap_ppm), load64(&row.burst_ns), load64(&row.resume_ns), load64(&row.in_flight_ns),
            load64(&row.memory_quota_bytes), load32(&row.guarantee_ppm),
            (load64(&row.copy_bytes_per_s[0]), load64(&row.copy_bytes_per_s[1])),
        )

    def is_torn(self, index):
        """Whether a writer died while it changed the line; nobody else may be writing now."""
        return bool(load32(&self._device(index).line_seq) & 1)

    def line(self, index):
        """One device's compute allowance."""
        cdef gs_device_limits *row = self._device(index)
        cdef uint32_t before
        while True:
            before = load32(&row.line_seq)
            line = Line(
                load64(&row.t0_ns), <int64_t> load64(&row.allowance_ns), load32(&row.rate_ppm),
                load32(&row.guarantee_ppm), load64(&row.lease_until_ns),
            )
            if before % 2 == 0 and load32(&row.line_seq) == before:
                return line

    def cap_ppm(self, index):
        """One device's cap, alone: see DeviceLimits."""
        return load32(&self._device(index).cap_ppm)

    def allowance_ns(self, index, uint64_t now_ns):
        """What one device's line comes to at that time: line(index).at(now_ns), in a tenth of the time."""
        cdef const gs_device_limits *row = self._device(index)
        cdef gs_line line
        while not gs_line_read(row, &line):
            pass
        return gs_line_at(&line, now_ns)

    def set_memory_limit(self, index, memory_limit_bytes, memory_quota_bytes=None):
        """What the tenant may use from now on; what it uses already is not taken away.

        `memory_quota_bytes` is what was granted, where that is more.
        """
        quota = memory_limit_bytes if memory_quota_bytes is None else memory_quota_bytes
        store64(&self._writable_device(index).memory_quota_bytes, quota)
        store64(&self._writable_device(index).memory_limit_bytes, memory_limit_bytes)

    def set_context_bytes(self, index, context_bytes):
        """What contexts created from now on are charged."""
        store64(&self._writable_device(index).context_bytes, context_bytes)

    def set_copy_rates(self, index, bytes_per_s):
        """What may be copied in a second: see DeviceLimits."""
        cdef gs_device_limits *row = self._writable_device(index)
        for direction, rate in zip(range(GS_DIRECTIONS), bytes_per_s, strict=True):
            store64(&row.copy_bytes_per_s[<int> direction], rate)

    def set_cap(self, index, cap_ppm, now_ns, *, spent_ns=None, rate_ppm=None, guarantee_ppm=None,
                lease_until_ns=0, burst_ns=None, resume_ns=None, in_flight_ns=None):
        """Change the share of one device's time; NO_CAP_PPM ends metering, METERED_PPM measures and caps nothing.

        The allowance goes on from what the old line says at `now_ns`, so that debt and savings stay what they are; with
        `spent_ns` (what the tenant has been charged so far) it starts afresh, in balance.  A device that was not metered
        has no line to go on from: `spent_ns` must be given.  `rate_ppm` is `cap_ppm` where not given, and holds until
        `lease_until_ns`, where that is not 0; then the rate is `guarantee_ppm`.
        """
        cdef gs_device_limits *row = self._writable_device(index)
        metered = load32(&row.cap_ppm) != GS_NO_CAP_PPM
        if cap_ppm not in (GS_NO_CAP_PPM, GS_METERED_PPM) and not 0 <= cap_ppm <= GS_FULL_PPM:
            raise ValueError(f"a cap of {cap_ppm} ppm; the most is {GS_FULL_PPM}")
        if spent_ns is None and not metered and cap_ppm != GS_NO_CAP_PPM:
            raise ValueError(f"device {index} was not metered: spent_ns must be given")
        allowance_ns = self.line(index).at(now_ns) if spent_ns is None else spent_ns
        if rate_ppm is None:
            rate_ppm = _rate_ppm(cap_ppm)
        cdef uint32_t guarantee = rate_ppm if guarantee_ppm is None else guarantee_ppm
        cdef uint64_t lease_until = lease_until_ns
        cdef uint64_t t0 = now_ns
        cdef int64_t allowance = allowance_ns
        cdef uint32_t rate = rate_ppm
        cdef uint64_t burst = row.burst_ns if burst_ns is None else burst_ns
        cdef uint64_t resume = row.resume_ns if resume_ns is None else resume_ns
        cdef uint64_t in_flight = row.in_flight_ns if in_flight_ns is None else in_flight_ns
        cdef uint32_t sequence = row.line_seq | 1  # odd already where a writer died in the middle
        store32_then_fence(&row.line_seq, sequence)
        store64(&row.t0_ns, t0)
        store64(&row.allowance_ns, <uint64_t> allowance)
        store32(&row.rate_ppm, rate)
        store32(&row.guarantee_ppm, guarantee)
        store64(&row.lease_until_ns, lease_until)
        store64(&row.burst_ns, burst)
        store64(&row.resume_ns, resume)
        store64(&row.in_flight_ns, in_flight)
        store32(&row.line_seq, sequence + 1)
        store32(&row.cap_ppm, cap_ppm)  # last: whoever sees the cap sees its line

    def set_paused(self, paused):
        """Whether the tenant may launch anything, on devices where it is metered."""
        self._check_writable()
        store32(&self._limits.paused, bool(paused))

    @property
    def paused(self):
        self._check_open()
        return bool(load32(&self._limits.paused))

    def set_above(self, tenants):
        """The indices of the tenants while which are busy this one may launch nothing."""
        self._check_writable()
        words = [0] * (GS_MAX_TENANTS // 64)
        for tenant in tenants:
            if not 0 <= tenant < GS_MAX_TENANTS:
                raise IndexError(f"tenant {tenant} of {GS_MAX_TENANTS}")
            words[tenant // 64] |= 1 << tenant % 64
        for i, word in enumerate(words):
            store64(&self._limits.above[<int> i], word)

    @property
    def above(self):
        """The tenants of set_above, in order."""
        self._check_open()
        words = [(64 * word, load64(&self._limits.above[<int> word])) for word in range(GS_MAX_TENANTS // 64)]
        return [first + bit for first, word in words if word for bit in range(64) if word >> bit & 1]

    def set_below(self, below):
        """Whether there are tenants of lower priority."""
        self._check_writable()
        store32(&self._limits.below, bool(below))

    @property
    def below(self):
        self._check_open()
        return bool(load32(&self._limits.below))

    def turns(self, index):
        """The period and the order of turns on one device, as in set_turns; nobody may be writing them."""
        self._check_open()
        _check_device(index, GS_MAX_DEVICES)
        cdef const gs_turns *table = &self._limits.turns[<int> index]
        cdef int i
        order = [(load32(&table.turn[i].from_ns), load32(&table.turn[i].tenant_index)) for i in range(table.count)]
        return load64(&table.period_ns), order if table.period_ns else []

    def set_turns(self, index, period_ns, turns):
        """The order of turns on one device: (from_ns, tenant index) each, the first from 0; none: tenants overlap."""
        self._check_writable()
        _check_device(index, GS_MAX_DEVICES)
        begins = [from_ns for from_ns, _ in turns]
        if len(turns) > GS_MAX_TENANTS:
            raise ValueError(f"{len(turns)} turns; the most is {GS_MAX_TENANTS}")
        if turns and (begins[0] != 0 or begins != sorted(set(begins)) or not max(begins) < period_ns < 1 << 32):
            raise ValueError(f"turns at {begins} of {period_ns}")
        cdef gs_turns *table = &self._limits.turns[<int> index]
        cdef uint32_t sequence = table.seq | 1
        cdef int i
        store32_then_fence(&table.seq, sequence)
        store32(&table.count, len(turns))
        for i in range(len(turns)):
            store32(&table.turn[i].from_ns, turns[i][0])
            store32(&table.turn[i].tenant_index, turns[i][1])
        store64(&table.period_ns, period_ns if turns else 0)
        store32(&table.seq, sequence + 1)
