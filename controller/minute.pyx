# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a tenant used of a device, second by second, for a minute: counters are read from its shared memory and kept.

In C, since all tenants are read on all of their devices each second, and a minute of that is much for Python to keep:
its collector would look at every reading again and again.
"""

from cpython.buffer cimport PyBUF_SIMPLE

from gshare.controller.history import SLACK_NS, WINDOWS_NS, Reading, Window

include "../shim/abi.pxi"
include "maps.pxi"

cdef extern from "bucket.h":
    struct gs_line:
        pass
    bint gs_line_read(const gs_device_limits *limits, gs_line *line) nogil
    int64_t gs_line_at(const gs_line *line, uint64_t now_ns) nogil

cdef enum:
    MOST_READINGS = 62  # a minute of them, and what a window is that comes a little late

MOST = MOST_READINGS

cdef int64_t SLACK = SLACK_NS, LEAST = WINDOWS_NS[0] // 2


cdef struct Counted:
    int64_t at_ns, gpu_ns, throttled_ns, launches, allowance_ns, to_device, to_host, copy_waited_ns, room_waited_ns


cdef Counted counted_of(reading):
    at_ns, gpu_ns, throttled_ns, launches, allowance_ns, (to_device, to_host), copy_waited_ns, room_waited_ns = reading
    return Counted(at_ns, gpu_ns, throttled_ns, launches, allowance_ns, to_device, to_host, copy_waited_ns, room_waited_ns)


cdef int64_t part(int64_t amount, int64_t elapsed_ns, int64_t whole) noexcept nogil:
    """So much of the whole, as the amount is of the time; the product may be more than fits."""
    return <int64_t> (<long double> max(amount, 0) * whole / max(elapsed_ns, 1))


cdef bint restarted(const Counted *before, const Counted *now) noexcept nogil:
    """Whether the counters began anew."""
    return now.gpu_ns < before.gpu_ns or now.at_ns < before.at_ns


cdef difference_of(const Counted *before, const Counted *now):
    cdef int64_t elapsed_ns = max(now.at_ns - before.at_ns, 1), full = GS_FULL_PPM, second = 1000000000
    cdef int64_t throttled_ns = now.throttled_ns - before.throttled_ns
    cdef int64_t waited_ns = throttled_ns + now.room_waited_ns - before.room_waited_ns
    return Window(  # in its order
        elapsed_ns, part(now.gpu_ns - before.gpu_ns, elapsed_ns, full),
        part(now.allowance_ns - before.allowance_ns, elapsed_ns, full), part(throttled_ns, elapsed_ns, full),
        max(waited_ns, 0) // max(now.launches - before.launches, 1),
        (part(now.to_device - before.to_device, elapsed_ns, second),
         part(now.to_host - before.to_host, elapsed_ns, second)),
        part(now.copy_waited_ns - before.copy_waited_ns, elapsed_ns, full),
    )


def difference(before, now):
    """What happened between two readings."""
    cdef Counted first = counted_of(before), second = counted_of(now)
    return difference_of(&first, &second)


cdef class Minute:
    """The readings of a minute, of a tenant on a device."""

    cdef Counted _kept[MOST_READINGS]
    cdef int _count, _next

    cdef const Counted *_ago(self, int back) noexcept nogil:
        """The latest but `back`."""
        return &self._kept[(self._next - 1 - back + 2 * MOST_READINGS) % MOST_READINGS]

    cdef void _keep(self, const Counted *reading) noexcept nogil:
        if self._count and restarted(self._ago(0), reading):
            self._count = 0
        self._kept[self._next] = reading[0]
        self._next = (self._next + 1) % MOST_READINGS
        self._count = min(self._count + 1, <int> MOST_READINGS)

    def keep(self, reading):
        """Keep one, once every PERIOD_NS."""
        cdef Counted counted = counted_of(reading)
        self._keep(&counted)

    def window(self, reading, int64_t length_ns):
        """The last `length_ns` up to now, or as much of it as there is; None without half of the shortest."""
        cdef Counted now = counted_of(reading)
        cdef int back = 0
        if not self._count:
            return None
        while back < self._count - 1 and self._ago(back).at_ns > now.at_ns - length_ns + SLACK:
            back += 1
        cdef const Counted *before = self._ago(back)
        if now.at_ns - before.at_ns < LEAST or restarted(before, &now):
            return None
        return difference_of(before, &now)

    def shares_ppm(self):
        """What it got in each second, oldest first."""
        cdef int back
        return [self._share_ppm(back) for back in range(self._count - 2, -1, -1)]

    cdef int64_t _share_ppm(self, int back) noexcept nogil:
        cdef const Counted *before = self._ago(back + 1)
        cdef const Counted *now = self._ago(back)
        return part(now.gpu_ns - before.gpu_ns, now.at_ns - before.at_ns, GS_FULL_PPM)

    def last_second(self):
        """What it used of it, and how long it was throttled, in ppm: nothing is known with less than two readings."""
        if self._count < 2:
            return 0, 0
        cdef const Counted *before = self._ago(1)
        cdef const Counted *now = self._ago(0)
        cdef int64_t waited_ns = now.throttled_ns - before.throttled_ns
        return self._share_ppm(0), part(waited_ns, now.at_ns - before.at_ns, GS_FULL_PPM)


cdef class Counter(Minute):
    """The same with the memory that its readings come from, which stays mapped."""

    cdef int _row, _mapped
    cdef const gs_device_limits *_limits
    cdef const gs_usage *_usage
    cdef const gs_device_activity *_activity
    cdef Py_buffer _maps[3]

    def __cinit__(self, limits, usage, activity, int index, int row):
        if not 0 <= row < GS_MAX_DEVICES or not 0 <= index < GS_MAX_TENANTS:
            raise IndexError(f"tenant {index}, device {row}")
        self._row = row
        self._limits = &(<const gs_limits *> self._map(limits, sizeof(gs_limits))).device[row]
        self._usage = <const gs_usage *> self._map(usage, sizeof(gs_usage))
        cdef const gs_activity *records = <const gs_activity *> self._map(
            activity, GS_MAX_TENANTS * sizeof(gs_activity)
        )
        self._activity = &records[index].device[row]

    cdef const void *_map(self, memory, uint64_t size) except NULL:
        return mapped(memory, PyBUF_SIMPLE, size, self._maps, &self._mapped)

    def __dealloc__(self):
        unmap(self._maps, self._mapped)

    cdef Counted _read(self, int64_t now_ns) noexcept nogil:
        cdef const gs_device_usage *used = &self._usage.device[self._row]
        cdef Counted now
        cdef gs_line line
        now.at_ns = now_ns
        now.gpu_ns = load64(&self._activity.gpu_ns)
        now.throttled_ns = load64(&self._activity.throttled_ns)
        now.launches = self._launches()
        while not gs_line_read(self._limits, &line):
            pass  # only this process writes it
        now.allowance_ns = gs_line_at(&line, now_ns)
        now.to_device, now.to_host = load64(&used.copied_bytes[0]), load64(&used.copied_bytes[1])
        now.copy_waited_ns = load64(&used.copy_waited_ns[0]) + load64(&used.copy_waited_ns[1])
        now.room_waited_ns = load64(&used.room_waited_ns)
        return now

    cdef int64_t _launches(self) noexcept nogil:
        """By all processes that are there; less when one has gone."""
        cdef int64_t total = 0
        cdef uint64_t claimed
        cdef int word, bit
        for word in range(GS_MAX_SLOTS // 64):
            claimed = load64(&self._usage.claimed[word])
            bit = 64 * word
            while claimed:
                if claimed & 1:
                    total += load64(&self._usage.slot[bit].device[self._row].launches)
                claimed >>= 1
                bit += 1
        return total

    def reading(self, now_ns):
        """What is counted by now."""
        cdef Counted now = self._read(now_ns)
        return Reading(
            now.at_ns, now.gpu_ns, now.throttled_ns, now.launches, now.allowance_ns, (now.to_device, now.to_host),
            now.copy_waited_ns, now.room_waited_ns,
        )

    def guarantee_ppm(self):
        """Its own part of the device's time, whether it uses it or not."""
        return load32(&self._limits.guarantee_ppm)


def keep(counters, int64_t now_ns):
    """Read all of them, and keep that; once every PERIOD_NS."""
    cdef Counter counter
    cdef Counted counted
    for counter in counters:
        counted = counter._read(now_ns)
        counter._keep(&counted)
