"""What the bucket, its gate and lending promise together, for any tenants: the shipped code on virtual time.

The device is the simplest there is: one kernel after the other, in the order of their launches, measured
exactly.  So whatever a tenant has too much or too little of is the gate's doing.  test_shares_hold.py has
the same of whole programs.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from share_core import MS, Line, core

from gshare.controller.balance import LEASE_NS, PERIOD_NS, demand
from gshare.controller.fill import fill
from gshare.controller.shares import BURST_NS, RESUME_NS

FULL = 1_000_000
SECOND = 1_000 * MS
HOUR = 3600 * SECOND
LOOK_NS = 20 * MS
LOOKS = 5
IN_FLIGHT = 2
"""Launches of a tenant at a time."""

core()  # compiled here, not in what hypothesis measures


@dataclass
class Tenant:
    """One that launches kernels of these lengths in turn, each so long after the one before was launched."""

    guarantee_ppm: int
    kernels_ns: Sequence[int]
    pause_ns: int = 0
    ceiling_ppm: int = 0
    """0: the guarantee is a cap."""
    weight: int = 0
    ready_ns: int = 0
    launched: int = 0
    in_flight: int = 0
    closed: bool = False
    waited: bool = False
    used_ns: int = 0
    looks: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=LOOKS))
    ran: list[tuple[int, int]] = field(default_factory=list)
    spent: ctypes.c_int64 = field(default_factory=ctypes.c_int64)

    def __post_init__(self) -> None:
        rate = self.guarantee_ppm
        self.line = Line(0, 0, BURST_NS, RESUME_NS, 0, 0, rate, rate, 0)

    def try_launch(self, now_ns: int) -> int:
        """The kernel's length, or 0: it waits, for now until `ready_ns`."""
        available = core().core_look(self.spent, self.line, now_ns)
        self.closed = not core().core_open(self.line, available, 0, self.closed)
        if self.closed:
            self.waited = True
            wait_ns = core().core_wait_ns(self.line, available)
            self.ready_ns = now_ns + max(1, min(wait_ns, LOOK_NS))
            return 0
        ns = self.kernels_ns[self.launched % len(self.kernels_ns)]
        self.spent.value += ns
        self.launched += 1
        self.in_flight += 1
        self.ready_ns = now_ns + self.pause_ns
        return ns

    def demand_ppm(self, now_ns: int) -> int:
        before_ns, used_ns = self.looks[0] if self.looks else (now_ns - PERIOD_NS, self.used_ns)
        self.looks.append((now_ns, self.used_ns))
        used = (self.used_ns - used_ns) * FULL // (now_ns - before_ns)
        waited, self.waited = self.waited, False
        ceiling = self.ceiling_ppm or self.guarantee_ppm
        return demand(used, waited, self.in_flight == IN_FLIGHT, self.guarantee_ppm, ceiling)

    def lend(self, rate_ppm: int, now_ns: int) -> None:
        if rate_ppm == self.line.rate_ppm and (
            rate_ppm == self.guarantee_ppm or self.line.lease_until_ns > now_ns
        ):
            return
        self.line.allowance_ns = core().core_line_at(self.line, now_ns)
        self.line.t0_ns, self.line.rate_ppm = now_ns, rate_ppm
        self.line.lease_until_ns = now_ns + LEASE_NS if rate_ppm != self.guarantee_ppm else 0


@dataclass
class Device:
    """Runs until `until_ns`; `idle_ns` is how long it had nothing."""

    tenants: Sequence[Tenant]
    now_ns: int = 0
    lends: bool = False
    idle_ns: int = 0
    ends_ns: int = 0
    queue: deque[tuple[Tenant, int]] = field(default_factory=deque)

    def run(self, until_ns: int) -> None:
        queue, tick_ns = self.queue, self.now_ns
        while self.now_ns < until_ns:
            if queue and self.ends_ns <= self.now_ns:  # the first one is through
                tenant, ns = queue.popleft()
                tenant.ran.append((self.ends_ns - ns, self.ends_ns))
                tenant.used_ns += ns
                tenant.in_flight -= 1
                self.ends_ns = self.now_ns + queue[0][1] if queue else 0
            if self.lends and tick_ns <= self.now_ns:
                self.lend()
                tick_ns += PERIOD_NS
            for tenant in self.tenants:
                while tenant.ready_ns <= self.now_ns and tenant.in_flight < IN_FLIGHT:
                    ns = tenant.try_launch(self.now_ns)
                    if ns == 0:
                        break
                    if not queue:
                        self.ends_ns = self.now_ns + ns
                    queue.append((tenant, ns))
            events = [t.ready_ns for t in self.tenants if t.in_flight < IN_FLIGHT]
            events += [self.ends_ns] if queue else []
            events += [tick_ns] if self.lends else []
            next_ns = max(self.now_ns + 1, min([until_ns, *events]))
            self.idle_ns += 0 if queue else next_ns - self.now_ns
            self.now_ns = next_ns

    def lend(self) -> None:
        wants = [
            (t.guarantee_ppm, t.ceiling_ppm or t.guarantee_ppm, t.demand_ppm(self.now_ns), t.weight)
            for t in self.tenants
        ]
        for tenant, rate in zip(self.tenants, fill(wants, FULL), strict=True):
            if tenant.weight:
                tenant.lend(rate, self.now_ns)


def most_above_ns(tenant: Tenant) -> float:
    """By how much it had more in any window than its cap gives in that window."""
    rate = tenant.guarantee_ppm / FULL
    used, least, most = 0.0, 0.0, 0.0
    for begin_ns, end_ns in tenant.ran:
        least = min(least, used - rate * begin_ns)  # a window had best begin where a kernel does
        used += end_ns - begin_ns
        most = max(most, used - rate * end_ns - least)
    return most


SHORT = st.lists(st.integers(200_000, 2 * MS), min_size=1, max_size=8)
KERNELS = st.lists(st.integers(200_000, 30 * MS), min_size=1, max_size=8)


@st.composite
def capped(draw: st.DrawFn, steady: bool = False) -> list[Tenant]:
    """Tenants with hard caps that fit on the device; steady ones use as much in any 50 ms."""
    parts = draw(st.lists(st.integers(1, 100), min_size=1, max_size=5))
    total = max(100, sum(parts))
    pauses = st.sampled_from((0, 0, 100_000, 5 * MS, 5 * MS if steady else 200 * MS))
    kernels = SHORT if steady else KERNELS
    return [Tenant(part * FULL // total, draw(kernels), draw(pauses)) for part in parts]


def check_caps(tenants: list[Tenant], seconds: int) -> None:
    Device(tenants).run(seconds * SECOND)
    for tenant in tenants:
        longest = max(tenant.kernels_ns)
        in_flight = IN_FLIGHT * longest if len(tenants) > 1 else 0  # launched before, kept by others
        assert most_above_ns(tenant) <= BURST_NS + longest + in_flight + 1


@settings(max_examples=20, deadline=None)
@given(capped())
def test_in_any_window_nobody_has_more_than_its_cap_a_burst_and_a_kernel(tenants: list[Tenant]) -> None:
    check_caps(tenants, 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None)
@given(capped())
def test_in_any_window_of_ten_seconds(tenants: list[Tenant]) -> None:
    check_caps(tenants, 10)


def check_conservation(tenants: list[Tenant]) -> None:
    """Somebody who may have all of it always wants to run: then nothing is left idle but what others may
    soon want, a quarter of what they use and a hundredth each.
    """
    greedy = Tenant(10_000, [MS], ceiling_ppm=FULL, weight=1)
    device = Device([*tenants, greedy], lends=True)
    device.run(SECOND // 2)
    before_ns, used_ns = device.idle_ns, sum(tenant.used_ns for tenant in tenants)
    device.run(3 * SECOND // 2)
    used_ns = sum(tenant.used_ns for tenant in tenants) - used_ns
    spare_ns = used_ns // 4 + len(tenants) * SECOND // 100
    assert device.idle_ns - before_ns <= spare_ns + SECOND // 50


@settings(max_examples=20, deadline=None)
@given(capped(steady=True))
def test_what_nobody_uses_is_used_by_who_may(tenants: list[Tenant]) -> None:
    check_conservation(tenants)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None)
@given(capped(steady=True))
def test_what_nobody_uses_is_used_by_who_may_for_any_tenants(tenants: list[Tenant]) -> None:
    check_conservation(tenants)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.integers(200_000, 5 * MS)), min_size=2, max_size=5))
def test_weights_divide_within_what_may_be_saved(given_: list[tuple[int, int]]) -> None:
    """Max-min: all want everything, so that nobody could have more but at the cost of who has less."""
    total = sum(weight for weight, _ in given_)
    tenants = [Tenant(FULL * weight // total, [ns], ceiling_ppm=FULL, weight=weight) for weight, ns in given_]
    device = Device(tenants, lends=True)
    device.run(SECOND // 2)
    before = [tenant.used_ns for tenant in tenants]
    device.run(5 * SECOND // 2)
    lag_ns = 2 * BURST_NS + len(tenants) * IN_FLIGHT * max(ns for _, ns in given_)
    for tenant, used_ns, (weight, _) in zip(tenants, before, given_, strict=True):
        assert abs(tenant.used_ns - used_ns - 2 * SECOND * weight / total) <= lag_ns


@settings(max_examples=20, deadline=None)
@given(st.integers(50_000, 900_000), KERNELS, st.booleans())
def test_an_hour_asleep_is_worth_a_burst_and_starves_nobody(
    guarantee_ppm: int, kernels_ns: list[int], lends: bool
) -> None:
    """Neither who slept nor who did not: each has its own from the first second on."""
    slept = Tenant(guarantee_ppm, kernels_ns, ready_ns=HOUR)
    awake = Tenant(FULL - guarantee_ppm, [MS], ceiling_ppm=FULL if lends else 0, weight=int(lends))
    awake.ready_ns = HOUR - SECOND // 2
    device = Device([slept, awake], now_ns=HOUR - SECOND // 2, lends=lends)
    device.run(HOUR)
    before = awake.used_ns
    device.run(HOUR + SECOND)
    saved_ns = BURST_NS + IN_FLIGHT * max(kernels_ns)
    late_ns = saved_ns + 2 * BURST_NS + 3 * PERIOD_NS  # a loan is called back within two looks
    assert slept.used_ns <= guarantee_ppm * 1000 + saved_ns
    assert slept.used_ns >= guarantee_ppm * 1000 - late_ns
    assert awake.used_ns - before >= (FULL - guarantee_ppm) * 1000 - late_ns


@settings(deadline=None)
@given(st.integers(50_000, FULL), st.integers(0, SECOND), st.integers(0, 30 * SECOND))
def test_who_is_in_debt_starts_again_by_the_clock_alone(rate_ppm: int, debt_ns: int, idle_ns: int) -> None:
    """No controller looks after it, nor does it look itself while it is idle."""
    tenant = Tenant(rate_ppm, [MS], ready_ns=idle_ns)
    tenant.spent.value = debt_ns
    tenant.closed = True
    due_ns = (debt_ns + RESUME_NS) * FULL // rate_ppm + 1
    now_ns = idle_ns
    while tenant.try_launch(now_ns) == 0:
        now_ns = tenant.ready_ns
        assert now_ns <= due_ns + LOOK_NS
    assert now_ns >= max(idle_ns, due_ns - FULL)
    assert now_ns <= max(idle_ns, due_ns + FULL)
