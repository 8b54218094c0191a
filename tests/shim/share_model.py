"""A time-sliced GPU and its tenants on virtual time, charged and gated by the shim's own functions.

A model only: round robin over contexts with work, a slice, a switch cost, kernels pre-empted in the middle.
What belongs to driver calls and threads (meter.c, gate.c) is imitated here; what decides (bucket.h, charge.h)
is the shipped code.  Times are integer nanoseconds.
"""

import ctypes
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from share_core import MS, US, Busy, History, Line, Own, Phase, Seen, Slices, core, new_session

SLICE_NS = 1024 * US
SWITCH_NS = 50 * US
LAUNCH_NS = 4 * US


@dataclass
class Marker:
    """The end of a window: what it holds, and when its start was on the GPU."""

    learnt_ns: int
    submit_ns: int
    contiguous: bool
    launches: int


@dataclass
class Kernel:
    """One queued kernel; `marker` when a window ends after it."""

    left_ns: int
    marker: Marker | None = None


@dataclass
class Tenant:
    """A saturating program; with `batch`, one that launches that many, waits, and computes for `gap_ns`."""

    rate_ppm: int
    duration: Callable[[random.Random], int]
    batch: int = 0
    gap_ns: int = 0
    learnt_ns: float = 200 * US
    queue: deque[Kernel] = field(default_factory=deque)
    true_ns: int = 0
    charged_ns: int = 0
    published_ns: int = 0
    next_ns: int = 0
    waiting: bool = False
    closed: bool = False
    full: bool = False
    issued: int = 0
    in_flight_ns: float = 0
    window: list[float] = field(default_factory=list)
    window_from_ns: int = 0
    start_ns: int | None = None
    spent: ctypes.c_int64 = field(default_factory=ctypes.c_int64)
    phase: Phase = field(default_factory=Phase)
    history: History = field(default_factory=History)
    slices: Slices = field(default_factory=Slices)

    def __post_init__(self) -> None:
        core().core_slices_init(ctypes.byref(self.slices))
        self.line = Line(0, 0, 20 * MS, 5 * MS, 2 * MS, 0, self.rate_ppm, self.rate_ppm, 0)


class Model:
    """One device and its tenants."""

    def __init__(self, tenants: list[Tenant], seed: int = 1) -> None:
        self.tenants = tenants
        self.random = random.Random(seed)
        self.now = 0
        self.switch_ns = 0
        self.elapsed_ns = 0

    def busy(self) -> int:
        """Contexts with work, as the busy words say."""
        return sum(bool(t.queue) for t in self.tenants)

    def look(self, tenant: Tenant) -> None:
        """What meter.c notes whenever it sets or reads a marker."""
        others = sum(t.published_ns for t in self.tenants if t is not tenant)
        core().core_history_add(ctypes.byref(tenant.history), self.now, max(1, self.busy()), 0, others)

    def gate(self, t: Tenant) -> int:
        """0 when a launch may go on, else when to ask again."""
        available = core().core_look(ctypes.byref(t.spent), ctypes.byref(t.line), self.now)
        if not core().core_open(ctypes.byref(t.line), available, 0, t.closed):
            t.closed = True
            wait_ns: int = core().core_wait_ns(ctypes.byref(t.line), available)
            return self.now + min(2 * MS, max(20 * US, wait_ns))
        t.closed = False
        limit = t.line.in_flight_ns / 2 if t.full else t.line.in_flight_ns
        t.full = t.in_flight_ns >= limit and len(t.queue) >= 2
        return self.now + 30 * US if t.full else 0

    def launch(self, t: Tenant) -> None:
        """One attempt of a tenant's host thread."""
        again = self.gate(t)
        if again:
            if t.window:
                self.mark(t)
            t.next_ns = again
            return
        if not t.queue and not t.window:
            t.start_ns = None
        if not t.window:
            t.window_from_ns = self.now
        cost = t.learnt_ns
        t.queue.append(Kernel(max(1, t.duration(self.random))))
        t.window.append(cost)
        t.in_flight_ns += cost
        t.spent.value += int(cost)
        t.issued += 1
        if sum(t.window) >= core().core_slices_window_ns(ctypes.byref(t.slices)):
            self.mark(t)
        t.next_ns = self.now + LAUNCH_NS
        if t.batch and t.issued % t.batch == 0:
            if t.window:
                self.mark(t)
            t.waiting = True

    def mark(self, t: Tenant) -> None:
        """Close the open window after the last queued kernel (at once when the stream has run dry)."""
        first = len(t.queue) > len(t.window)
        marker = Marker(int(sum(t.window)), self.now - t.window_from_ns, first, len(t.window))
        t.window = []
        self.look(t)
        if t.queue:
            t.queue[-1].marker = marker
        else:
            self.retire(t, marker)

    def retire(self, t: Tenant, marker: Marker) -> None:
        """A window's end marker is through: charge it."""
        start = t.start_ns if t.start_ns is not None else self.now
        self.look(t)
        busy, found = Busy(), Own()
        core().core_history_busy(ctypes.byref(t.history), start, self.now, ctypes.byref(busy))
        elapsed = self.now - start
        launch_ns = marker.learnt_ns // max(1, marker.launches)
        seen = Seen(elapsed, marker.learnt_ns, busy.milli, busy.alone_ns, busy.part_ns, launch_ns)
        if not marker.contiguous:
            t.phase = new_session()
        core().core_own(
            ctypes.byref(t.slices), ctypes.byref(seen), ctypes.byref(t.phase), ctypes.byref(found)
        )
        own = found.ns
        if not marker.contiguous:
            own = core().core_without_gaps(own, marker.submit_ns, marker.learnt_ns)
        if not found.guessed:
            t.learnt_ns += (own / marker.launches - t.learnt_ns) / 8
        t.spent.value += own - marker.learnt_ns
        t.in_flight_ns -= marker.learnt_ns
        t.charged_ns += own
        t.published_ns += own
        t.start_ns = self.now

    def run(self, until_ns: int) -> None:
        """Advance everything to `until_ns`."""
        current, slice_end, switching = -1, 0, 0
        count = len(self.tenants)
        while self.now < until_ns:
            for t in self.tenants:
                if not t.waiting and t.next_ns <= self.now:
                    self.launch(t)
            active = [i for i, t in enumerate(self.tenants) if t.queue]
            if active and (current not in active or self.now >= slice_end):
                chosen = next(i for k in range(1, count + 1) if (i := (current + k) % count) in active)
                if chosen != current:
                    switching = SWITCH_NS
                current, slice_end = chosen, self.now + switching + SLICE_NS
            event = min([until_ns, *(t.next_ns for t in self.tenants if not t.waiting)])
            if active:
                t = self.tenants[current]
                if switching == 0 and t.start_ns is None:
                    t.start_ns = self.now
                event = min(event, self.now + (switching or t.queue[0].left_ns))
                if len(active) > 1:
                    event = min(event, slice_end)
            step = max(1, event - self.now)
            self.now += step
            if not active:
                continue
            paid = min(switching, step)
            switching -= paid
            self.switch_ns += paid
            ran = step - paid
            if ran > 0:
                t.queue[0].left_ns -= ran
                t.true_ns += ran
            if t.queue[0].left_ns <= 0:
                kernel = t.queue.popleft()
                if kernel.marker:
                    self.retire(t, kernel.marker)
                if not t.queue and t.waiting:
                    t.waiting = False
                    t.next_ns = self.now + t.gap_ns
                    t.start_ns = None


def lognormal(mean_ns: int, sigma: float = 0.25) -> Callable[[random.Random], int]:
    """Durations as kernels of one program have them."""
    return lambda r: int(mean_ns * r.lognormvariate(-sigma * sigma / 2, sigma))


def shares(tenants: list[Tenant], seconds: int = 4) -> tuple[list[float], list[float], float]:
    """True and charged share of elapsed time after one second to settle, and the part lost to switches."""
    model = Model(tenants)
    model.run(1_000 * MS)
    before = [(t.true_ns, t.charged_ns) for t in tenants]
    switched = model.switch_ns
    model.run((1 + seconds) * 1_000 * MS)
    total = seconds * 1_000 * MS
    true = [(t.true_ns - b) / total for t, (b, _) in zip(tenants, before, strict=True)]
    charged = [(t.charged_ns - b) / total for t, (_, b) in zip(tenants, before, strict=True)]
    return true, charged, (model.switch_ns - switched) / total
