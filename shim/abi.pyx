# cython: language_level=3, boundscheck=False, wraparound=False
"""Typed view of the shared memory that src/abi.h lays out; no offset is stated here.

Files are made whole or not at all: written under another name with `ready` last, flushed, renamed.  Every byte is
really written, since a hole that a full disk cannot fill would kill the program that touches it (SIGBUS).
"""

import mmap
import os
from contextlib import suppress
from typing import NamedTuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport errno
from libc.string cimport memcpy, memset

include "abi.pxi"

VERSION = GS_ABI_VERSION
MAX_DEVICES = GS_MAX_DEVICES
MAX_SLOTS = GS_MAX_SLOTS
MAX_TENANTS = GS_MAX_TENANTS
MAX_LANES = GS_MAX_LANES
MAX_TURNS = GS_MAX_TURNS
MAX_REFUSALS = GS_REFUSALS
HOST_ROW = GS_HOST_ROW
ROWS = GS_ROWS
NO_LIMIT_BYTES = GS_NO_LIMIT_BYTES
NO_CAP_PPM = GS_NO_CAP_PPM
METERED_PPM = GS_METERED_PPM
FULL_PPM = GS_FULL_PPM
LIMITS_BYTES = sizeof(gs_limits)
USAGE_BYTES = sizeof(gs_usage)
ACTIVITY_RECORD_BYTES = sizeof(gs_activity)
SLOT_LOCK_BASE = GS_SLOT_LOCK_BASE


CHARGES = {
    GS_LINEAR: "linear",
    GS_MANAGED: "managed",
    GS_POOL: "pool",
    GS_PHYSICAL: "physical",
    GS_CONTEXT: "context",
    GS_ARRAY: "array",
    GS_GRAPH: "graph",
    GS_MODULE: "module",
}
"""What memory is charged for, by its place in `charged_bytes`."""


class AbiError(Exception):
    """A shared file cannot be used; the message names it and says what to do."""


class DeviceLimits(NamedTuple):
    """What a tenant may have of one device."""

    uuid: bytes
    device_memory_bytes: int
    memory_limit_bytes: int = NO_LIMIT_BYTES
    context_bytes: int = 0
    cap_ppm: int = NO_CAP_PPM
    burst_ns: int = 0
    resume_ns: int = 0
    in_flight_ns: int = 0
    memory_quota_bytes: int | None = None
    """What was granted; None where a limit is made: as much as the limit."""
    guarantee_ppm: int | None = None
    """The rate without what is lent; None where a limit is made: the cap."""


class Line(NamedTuple):
    """The compute allowance: at `t` it is allowance_ns + (t - t0_ns) * rate_ppm / 1e6.

    From `lease_until_ns` on, where that is not 0, it goes on with `guarantee_ppm`.
    """

    t0_ns: int
    allowance_ns: int
    rate_ppm: int
    guarantee_ppm: int = 0
    lease_until_ns: int = 0

    def at(self, now_ns: int) -> int:
        end = min(now_ns, self.lease_until_ns) if self.lease_until_ns else now_ns
        leased = max(end - self.t0_ns, 0)
        since = max(now_ns - self.t0_ns, 0) - leased
        return self.allowance_ns + (leased * self.rate_ppm + since * self.guarantee_ppm) // FULL_PPM


class DeviceUsage(NamedTuple):
    """What a tenant takes of one device."""

    used_bytes: int
    peak_bytes: int
    spent_ns: int
    change: int = 0
    """Names the change that made `used_bytes`: the same one means that nothing was charged or given back since."""


class SlotDevice(NamedTuple):
    """What one process takes of one device."""

    held_bytes: int
    gpu_ns: int
    launches: int
    throttled_ns: int
    denied: int
    charged_bytes: dict[str, int]
    """What of `held_bytes` is for what: one of CHARGES each."""


class Refusal(NamedTuple):
    """An allocation that would have passed the limit; the tenant's first has number 1.

    `pid` is the number that the process sees, `row` its device's row or HOST_ROW, None one that is not granted.
    """

    number: int
    time_ns: int
    api: str
    row: int | None
    bytes: int
    used_bytes: int
    limit_bytes: int
    pid: int
    slot: int


class SlotUsage(NamedTuple):
    """One process of a tenant.  `pid` is the number that the process sees, `start_ticks` tells a reused one."""

    slot: int
    pid: int
    start_ticks: int
    devices: tuple


class DeviceActivity(NamedTuple):
    """What a tenant tells its neighbours about one device."""

    busy_until_ns: int
    gpu_ns: int
    throttled_ns: int


_KIND_NAMES = {GS_FILE_LIMITS: "limits", GS_FILE_USAGE: "usage", GS_FILE_ACTIVITY: "activity"}
_WAY_OUT = "stop the tenant's programs and start them again with gshare run"
_MOST_LOOKS = 100  # at a process that changes what it holds, until the parts and their sum agree


cdef class _File:
    """A shared file, mapped.  Nothing is read from it before it has been verified."""

    cdef readonly str path
    cdef object _map
    cdef int _fd
    cdef Py_buffer _buffer
    cdef bint _exported
    cdef unsigned char *_at

    def __cinit__(self, *args, **kwargs):
        self._fd = -1
        self._exported = False
        self._at = NULL

    cdef _map_file(self, path, bint writable, uint32_t kind, uint64_t size, uint64_t count):
        self.path = os.fspath(path)
        try:
            self._fd = os.open(self.path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as error:
            raise AbiError(f"{self.path}: cannot open: {error.strerror} ({_WAY_OUT})") from None
        actual = os.fstat(self._fd).st_size
        problem = f"{actual} bytes are too few for any {_KIND_NAMES[kind]} file"
        if actual >= sizeof(gs_header):
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(self._fd, actual, mmap.MAP_SHARED, access)
            PyObject_GetBuffer(self._map, &self._buffer, PyBUF_SIMPLE)
            self._exported = True
            self._at = <unsigned char *> self._buffer.buf
            problem = _verify(<gs_header *> self._at, kind, size)
        if not problem and actual != size * count:
            problem = f"a damaged {_KIND_NAMES[kind]} file: {actual} bytes instead of {size * count}"
        if problem:
            self.close()
            raise AbiError(f"{self.path}: {problem} ({_WAY_OUT})")

    cdef _check_open(self):
        if self._at == NULL:
            raise ValueError(f"{self.path}: closed")

    def close(self):
        """Unmap; may be called again."""
        self._at = NULL
        if self._exported:
            PyBuffer_Release(&self._buffer)
            self._exported = False
        if self._map is not None:
            with suppress(BufferError):  # then it is unmapped with the last view of it
                self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def memory(self):
        """The mapped bytes; they stay mapped for as long as somebody looks at them."""
        self._check_open()
        return memoryview(self._map)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __dealloc__(self):
        if self._exported:
            PyBuffer_Release(&self._buffer)
        if self._fd >= 0:
            os.close(self._fd)


cdef str _verify(const gs_header *header, uint32_t kind, uint64_t size):
    """What is wrong with the header, or nothing."""
    name = _KIND_NAMES[kind]
    if header.magic != GS_ABI_MAGIC:
        return f"not a {name} file of gshare"
    if header.version != GS_ABI_VERSION:
        return f"a {name} file of version {header.version}, where this gshare is of version {GS_ABI_VERSION}"
    if header.kind != kind:
        return f"a {_KIND_NAMES.get(header.kind, 'strange')} file in the place of the {name} file"
    if header.size_bytes != size:
        return f"a damaged {name} file: it claims {header.size_bytes} bytes instead of {size}"
    if load32(&header.ready) != 1:
        return f"a {name} file that was never finished"
    return ""


cdef void _fill_header(void *at, uint32_t kind, uint64_t size) noexcept:
    cdef gs_header *header = <gs_header *> at
    header.magic = GS_ABI_MAGIC
    header.version = GS_ABI_VERSION
    header.kind = kind
    header.size_bytes = size
    store32(&header.ready, 1)


cdef _write_file(path, bytes content):
    """Make the file whole under another name and move it into place."""
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view):]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


cdef _check_device(index, uint32_t count):
    if not 0 <= index < count:
        raise IndexError(f"device {index} of {count}")


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


def create_usage(path):
    """Write an empty usage file: nothing used, no process."""
    content = bytearray(sizeof(gs_usage))
    cdef unsigned char[::1] view = content
    _fill_header(&view[0], GS_FILE_USAGE, sizeof(gs_usage))
    _write_file(path, bytes(content))


def create_activity(path):
    """Write the machine's activity file: MAX_TENANTS idle records."""
    record = bytearray(sizeof(gs_activity))
    cdef unsigned char[::1] view = record
    _fill_header(&view[0], GS_FILE_ACTIVITY, sizeof(gs_activity))
    _write_file(path, bytes(record) * GS_MAX_TENANTS)


cdef class Limits(_File):
    """A tenant's limits.  The controller opens them writable; there is one writer."""

    cdef gs_limits *_limits
    cdef bint _writable

    def __init__(self, path, *, writable=False):
        self._map_file(path, writable, GS_FILE_LIMITS, sizeof(gs_limits), 1)
        self._limits = <gs_limits *> self._at
        if self._limits.device_count > GS_MAX_DEVICES:
            count = self._limits.device_count
            self.close()
            raise AbiError(f"{self.path}: a damaged limits file: {count} devices ({_WAY_OUT})")
        self._writable = writable

    cdef gs_device_limits *_device(self, index) except NULL:
        self._check_open()
        if index != GS_HOST_ROW:
            _check_device(index, self._limits.device_count)
        return &self._limits.device[<int> index]

    cdef gs_device_limits *_writable_device(self, index) except NULL:
        if not self._writable:
            raise ValueError(f"{self.path}: opened for reading")
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
        if not self._writable:
            raise ValueError(f"{self.path}: opened for reading")
        self._check_open()
        store32(&self._limits.tenants_bound, value)

    @property
    def devices(self):
        self._check_open()
        return tuple(self.device(i) for i in range(self._limits.device_count))

    def device(self, index):
        """One device's limits, or those of HOST_ROW, where only memory counts."""
        cdef gs_device_limits *row = self._device(index)
        return DeviceLimits(
            uuid=bytes(row.uuid[:16]),
            device_memory_bytes=row.device_memory_bytes,
            memory_limit_bytes=load64(&row.memory_limit_bytes),
            context_bytes=load64(&row.context_bytes),
            cap_ppm=load32(&row.cap_ppm),
            burst_ns=load64(&row.burst_ns),
            resume_ns=load64(&row.resume_ns),
            in_flight_ns=load64(&row.in_flight_ns),
            memory_quota_bytes=load64(&row.memory_quota_bytes),
            guarantee_ppm=load32(&row.guarantee_ppm),
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
        return [i for i in range(GS_MAX_TENANTS) if load64(&self._limits.above[<int> i // 64]) >> i % 64 & 1]

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
        order = [(load64(&table.turn[i].from_ns), load32(&table.turn[i].tenant_index)) for i in range(table.count)]
        return load64(&table.period_ns), order if table.period_ns else []

    def set_turns(self, index, period_ns, turns):
        """The order of turns on one device: (from_ns, tenant index) each, the first from 0; none: tenants overlap."""
        self._check_writable()
        _check_device(index, GS_MAX_DEVICES)
        begins = [from_ns for from_ns, _ in turns]
        if len(turns) > GS_MAX_TURNS:
            raise ValueError(f"{len(turns)} turns; the most is {GS_MAX_TURNS}")
        if turns and (begins[0] != 0 or begins != sorted(set(begins)) or max(begins) >= period_ns):
            raise ValueError(f"turns at {begins} of {period_ns}")
        cdef gs_turns *table = &self._limits.turns[<int> index]
        cdef uint32_t sequence = table.seq | 1
        cdef int i
        store32_then_fence(&table.seq, sequence)
        store32(&table.count, len(turns))
        for i in range(len(turns)):
            store64(&table.turn[i].from_ns, turns[i][0])
            store32(&table.turn[i].tenant_index, turns[i][1])
        store64(&table.period_ns, period_ns if turns else 0)
        store32(&table.seq, sequence + 1)

    cdef _check_writable(self):
        self._check_open()
        if not self._writable:
            raise ValueError(f"{self.path}: opened for reading")


cdef class Usage(_File):
    """What a tenant takes: written by its processes, only read here."""

    cdef const gs_usage *_usage

    def __init__(self, path):
        self._map_file(path, False, GS_FILE_USAGE, sizeof(gs_usage), 1)
        self._usage = <const gs_usage *> self._at

    def device(self, index):
        """The tenant's total on one device, or of HOST_ROW."""
        self._check_open()
        _check_device(index, GS_ROWS)
        cdef const gs_device_usage *row = &self._usage.device[<int> index]
        cdef gs_total total = _read_total(&row.total)
        spent_ns = <int64_t> load64(&row.spent_ns)
        return DeviceUsage(total.used_bytes, load64(&row.peak_bytes), spent_ns, total.last)

    def is_live(self, slot):
        """Whether the slot's process is alive: the kernel's word, from the lock that ends with the process."""
        self._check_open()
        if not 0 <= slot < GS_MAX_SLOTS:
            raise IndexError(f"slot {slot} of {GS_MAX_SLOTS}")
        cdef int owned = slot_is_owned(self._fd, <uint32_t> slot)
        if owned < 0:
            raise OSError(errno, os.strerror(errno), self.path)
        return bool(owned)

    def slots(self, device_count=MAX_DEVICES):
        """The tenant's live processes, with what each takes of the first `device_count` rows."""
        self._check_open()
        _check_device(device_count, GS_ROWS + 1)
        return tuple(
            self._slot(i, device_count)
            for i in range(GS_MAX_SLOTS)
            if load64(&self._usage.claimed[<int> i // 64]) >> i % 64 & 1
            and load32(&self._usage.slot[<int> i].pid)
            and self.is_live(i)
        )

    cdef _slot(self, int index, int device_count):
        cdef const gs_slot *slot = &self._usage.slot[index]
        return SlotUsage(
            slot=index,
            pid=slot.pid,
            start_ticks=slot.start_ticks,
            devices=tuple(self._slot_device(index, i) for i in range(device_count)),
        )

    cdef _slot_device(self, int index, int device):
        cdef const gs_slot_device *row = &self._usage.slot[index].device[device]
        for _ in range(_MOST_LOOKS):
            held = _read_held(&self._usage.device[device].total, row, index)
            charged = {name: load64(&row.charged_bytes[kind]) for kind, name in CHARGES.items()}
            if sum(charged.values()) == held:
                break
        return SlotDevice(
            held_bytes=held,
            gpu_ns=load64(&row.gpu_ns),
            launches=load64(&row.launches),
            throttled_ns=load64(&row.throttled_ns),
            denied=load64(&row.denied),
            charged_bytes=charged,
        )

    @property
    def refusals(self):
        """How many allocations of the tenant were refused."""
        self._check_open()
        return load64(&self._usage.refusals)

    def refusals_since(self, number):
        """The refusals after the one of that number, oldest first; only the latest MAX_REFUSALS can be had.

        One that is being written is left out: whoever goes on from the last number returned gets it next time, unless
        later ones are there already, as when its writer was killed.
        """
        self._check_open()
        cdef uint64_t last = load64(&self._usage.refusals)
        cdef uint64_t at = max(number, last - GS_REFUSALS if last > GS_REFUSALS else 0)
        cdef const gs_refusal *note
        cdef gs_refusal copy
        found = []
        while at < last:
            at += 1
            note = &self._usage.refusal[(at - 1) % GS_REFUSALS]
            if load64(&note.stamp) != 2 * at:
                continue
            memcpy(&copy, note, sizeof(copy))
            if load_after(&note.stamp) != 2 * at:
                continue  # overwritten meanwhile
            api = (<bytes> copy.api[:60]).split(b"\0", 1)[0].decode(errors="replace")
            found.append(
                Refusal(
                    at, copy.time_ns, api, copy.row if copy.row >= 0 else None, copy.bytes, copy.used_bytes,
                    copy.limit_bytes, copy.pid, copy.slot,
                )
            )
        return tuple(found)


cdef gs_total _read_total(const gs_total *total) noexcept:
    """`last` names each change once, so that the same one before and after proves the bytes between."""
    cdef gs_total copy
    while True:
        copy.last = load64(&total.last)
        copy.used_bytes = load64(&total.used_bytes)
        if load64(&total.last) == copy.last:
            return copy


cdef uint64_t _read_held(const gs_total *total, const gs_slot_device *row, int slot) noexcept:
    """What the slot's changes that took effect leave it with."""
    cdef uint64_t sequence, last, applied, held
    while True:
        sequence = load64(&row.sequence)
        last = load64(&total.last)  # before `applied`: whoever overwrites `last` has raised that first
        applied = load64(&row.applied)
        if last != (<uint64_t> slot << 48 | sequence) and applied < sequence:
            held = load64(&row.held_bytes[(sequence - 1) & 1])
        else:
            held = load64(&row.held_bytes[sequence & 1])
        if load64(&row.sequence) == sequence:
            return held


cdef class Activity(_File):
    """The machine's activity file: what tenants tell each other."""

    cdef bint _writable

    def __init__(self, path, *, writable=False):
        self._map_file(path, writable, GS_FILE_ACTIVITY, sizeof(gs_activity), GS_MAX_TENANTS)
        self._writable = writable

    cdef gs_activity *_record(self, tenant_index) except NULL:
        self._check_open()
        if not 0 <= tenant_index < GS_MAX_TENANTS:
            raise IndexError(f"tenant {tenant_index} of {GS_MAX_TENANTS}")
        return &(<gs_activity *> self._at)[<int> tenant_index]

    def device(self, tenant_index, index):
        """What one tenant tells about one device."""
        _check_device(index, GS_MAX_DEVICES)
        cdef const gs_device_activity *row = &self._record(tenant_index).device[<int> index]
        return DeviceActivity(load64(&row.busy_until_ns), load64(&row.gpu_ns), load64(&row.throttled_ns))

    def clear(self, tenant_index):
        """Make a record idle again before a new tenant gets it."""
        if not self._writable:
            raise ValueError(f"{self.path}: opened for reading")
        memset(&self._record(tenant_index).device[0], 0, GS_MAX_DEVICES * sizeof(gs_device_activity))
