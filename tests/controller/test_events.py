"""The event log: numbered, bounded, whole lines only; and what becomes of refusals in it."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gshare.controller.events import SCHEMA, EventLog
from gshare.controller.protocol import Limits
from gshare.controller.refusals import Refusals
from gshare.controller.tenants import Tenant
from gshare.controller.units import Memory
from gshare.shim import abi

from .conftest import GIB, House

REFUSALS_AT = 4096
"""Of the ring in a usage file, as abi.h has it."""


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def event(what: str = "limits", tenant: str = "a", **more: Any) -> dict[str, Any]:
    return {"what": what, "tenant": tenant, **more}


def test_nothing_is_written_where_nothing_happens(log: EventLog) -> None:
    assert log.latest(10) == []
    assert not log.path.exists()


def test_an_event_is_a_line_with_a_number_and_two_times(log: EventLog) -> None:
    told: list[tuple[str, bytes]] = []
    log.on_event = lambda what, line: told.append((what, line))
    log.add(event(bytes=5), event("ended"))
    first, second = (json.loads(line) for line in log.path.read_text().splitlines())
    assert (first["schema"], first["what"], first["tenant"], first["bytes"]) == (SCHEMA, "limits", "a", 5)
    assert [first["number"], second["number"]] == [1, 2]
    assert first["time_ns"] > first["at_ns"] > 0
    assert [(what, json.loads(line)) for what, line in told] == [("limits", first), ("ended", second)]
    assert log.latest(10) == [first, second]


def test_the_latest_are_had_of_one_tenant_and_after_a_number(log: EventLog) -> None:
    log.add(*(event(tenant="ab"[i % 2]) for i in range(10)))
    assert [e["number"] for e in log.latest(3)] == [8, 9, 10]
    assert [e["number"] for e in log.latest(3, "a")] == [5, 7, 9]
    assert [e["number"] for e in log.latest(9, "a", after=5)] == [7, 9]


def test_a_new_controller_goes_on_with_the_numbers(log: EventLog) -> None:
    log.add(event(), event())
    again = EventLog(log.path)
    again.add(event())
    assert [e["number"] for e in again.latest(10)] == [1, 2, 3]


@pytest.mark.parametrize("cut", range(2, 100, 14))
def test_half_a_line_is_left_out_and_spoils_nothing(log: EventLog, cut: int) -> None:
    log.add(event(), event())
    os.truncate(log.path, log.path.stat().st_size - cut)
    again = EventLog(log.path)
    whole = len(again.latest(10))
    assert whole == 1
    again.add(event("ended"))
    assert [e["what"] for e in again.latest(10)] == ["limits", "ended"]


@pytest.mark.parametrize(
    "line", [b"1", b"{}", b"[]", b"\xff\xfe", b'{"schema":"gshare/event/v1","number":"x"}']
)
def test_what_is_no_event_is_left_out(log: EventLog, line: bytes) -> None:
    log.add(event())
    log.path.write_bytes(log.path.read_bytes() + line + b"\n")
    assert len(EventLog(log.path).latest(10)) == 1


def test_the_file_is_bounded_and_the_one_before_is_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", most_bytes=2000)
    for _ in range(100):
        log.add(event())
    assert log.path.stat().st_size <= 2000
    assert log.moved_aside.stat().st_size <= 2000
    numbers = [e["number"] for e in log.latest(1000)]
    assert numbers == list(range(101 - len(numbers), 101))
    assert len(numbers) > 10
    assert set(os.listdir(tmp_path)) == {log.path.name, log.moved_aside.name}


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "missing" / "events.jsonl")
    told: list[str] = []
    log.on_event = lambda what, line: told.append(what)
    log.add(event())
    log.add(event())
    assert told == ["limits", "limits"]


# -------- refusals


class Ring:
    """Writes a tenant's ring as its processes do."""

    def __init__(self, tenant: Tenant) -> None:
        self.path = tenant.files.directory / "usage"
        ring = REFUSALS_AT - 1784 - 8  # the number of refusals, and what is behind it up to the ring
        self.count_at = ring
        self.number = 0

    def put(self, api: str = "cuMemAlloc_v2", row: int = 0, size: int = 64, *, whole: bool = True) -> None:
        self.number += 1
        n = self.number
        stamp = 2 * n if whole else 2 * n - 1
        note = struct.pack("<QQQQQIIi60s", stamp, n, size, 100, 128, os.getpid(), 7, row, api.encode())
        at = REFUSALS_AT + (n - 1) % abi.MAX_REFUSALS * 128
        with open(self.path, "r+b") as file:
            os.pwrite(file.fileno(), note, at)
            os.pwrite(file.fileno(), struct.pack("<Q", n), self.count_at)

    def finish(self, number: int) -> None:
        with open(self.path, "r+b") as file:
            at = REFUSALS_AT + (number - 1) % abi.MAX_REFUSALS * 128
            os.pwrite(file.fileno(), struct.pack("<Q", 2 * number), at)


@pytest.fixture
def tenant(house: House) -> Tenant:
    house.registry.admit(house.request(Limits(Memory(8 * GIB, None)), tenant="team-a"))
    return house.registry.tenants.by_name["team-a"]


@pytest.fixture
def ring(tenant: Tenant) -> Ring:
    ring = Ring(tenant)
    assert tenant.files.usage.refusals == 0
    return ring


@pytest.fixture
def refusals(house: House, log: EventLog) -> Refusals:
    return Refusals(log, house.registry.inventory)


Shown = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def shown(log: EventLog) -> Shown:
    def latest() -> list[tuple[Any, ...]]:
        return [(e["what"], e.get("bytes"), e["count"]) for e in log.latest(1000)]

    return latest


def test_without_refusals_there_are_no_events(tenant: Tenant, refusals: Refusals, log: EventLog) -> None:
    refusals.collect(tenant)
    refusals.collect(tenant, ended=True)
    assert not log.path.exists()


def test_a_refusal_is_told_once_with_its_device(
    house: House, tenant: Tenant, ring: Ring, refusals: Refusals, log: EventLog
) -> None:
    ring.put()
    refusals.collect(tenant)
    refusals.collect(tenant)
    (told,) = log.latest(10)
    (device,) = house.machines[""]
    assert (told["what"], told["tenant"], told["pid"]) == ("refused", "team-a", os.getpid())
    assert (told["api"], told["index"], told["uuid"]) == ("cuMemAlloc_v2", 0, device.uuid)
    assert (told["bytes"], told["used_bytes"], told["limit_bytes"], told["count"]) == (64, 100, 128, 1)
    assert (told["at_ns"], told["host"], told["simulated"]) == (1, False, False)


@pytest.mark.parametrize(("row", "host"), [(abi.HOST_ROW, True), (-1, False), (12345, False), (5, False)])
def test_what_is_on_no_device(
    tenant: Tenant, ring: Ring, refusals: Refusals, log: EventLog, row: int, host: bool
) -> None:
    """The ring is written by the tenant: whatever it says does no harm."""
    ring.put("\x1b[2Jowned", row)
    refusals.collect(tenant)
    (told,) = log.latest(10)
    assert (told["index"], told["uuid"], told["host"], told["api"]) == (None, "", host, "?")


def test_refusals_are_counted_by_cause_also_by_the_next_controller(
    house: House, tenant: Tenant, ring: Ring, refusals: Refusals, log: EventLog
) -> None:
    (device,) = house.machines[""]
    assert not refusals.counts("team-a")
    for size, row in (
        (9 * GIB, 0),
        (9 * GIB, 0),
        (8 * GIB, 0),
        (64, 0),
        (64, abi.HOST_ROW),
        (64, -1),
        (64, 5),
    ):
        ring.put(size=size, row=row)
    refusals.collect(tenant)
    by_cause = {
        (device.uuid, "memory"): 3,
        (device.uuid, "uncharged"): 1,
        ("", "host-memory"): 1,
        ("", "not-granted"): 2,
    }
    assert refusals.counts("team-a") == by_cause
    after = Refusals(EventLog(log.path), house.registry.inventory)
    assert after.counts("team-a") == by_cause
    for size in range(1, abi.MAX_REFUSALS + 4):
        ring.put(size=size)
    after.collect(tenant)
    uncharged = (device.uuid, "uncharged")
    assert after.counts("team-a") == {**by_cause, uncharged: 1 + abi.MAX_REFUSALS, ("", "untold"): 3}
    after.collect(tenant, ended=True)
    assert not after.counts("team-a")


def test_equal_ones_are_one_event(tenant: Tenant, ring: Ring, refusals: Refusals, shown: Shown) -> None:
    for i in range(100):
        ring.put(size=64 if i % 10 else 32)
    refusals.collect(tenant)
    assert shown() == [("refused", 32, 10), ("refused", 64, 90)]


def test_those_overwritten_are_counted(tenant: Tenant, ring: Ring, refusals: Refusals, shown: Shown) -> None:
    for size in range(1, 1001):
        ring.put(size=size)
    refusals.collect(tenant)
    told = shown()
    assert told[:-1] == [("refused", size, 1) for size in range(1001 - abi.MAX_REFUSALS, 1001)]
    assert told[-1] == ("refusals-lost", None, 1000 - abi.MAX_REFUSALS)


def test_one_that_is_being_written_is_waited_for(
    tenant: Tenant, ring: Ring, refusals: Refusals, shown: Shown
) -> None:
    ring.put(size=1)
    ring.put(size=2, whole=False)
    ring.put(size=3)
    refusals.collect(tenant)
    assert shown() == [("refused", 1, 1)]
    ring.finish(2)
    refusals.collect(tenant)
    assert shown() == [("refused", size, 1) for size in (1, 2, 3)]


@pytest.mark.parametrize("later", [True, False])
def test_one_whose_writer_was_killed_is_waited_for_once(
    tenant: Tenant, ring: Ring, refusals: Refusals, shown: Shown, later: bool
) -> None:
    ring.put(size=1)
    ring.put(size=2, whole=False)
    if later:
        ring.put(size=3)
    for _ in range(4):
        refusals.collect(tenant)
    after = [("refused", 3, 1)] * later
    assert shown() == [("refused", 1, 1), *after, ("refusals-lost", None, 1)]


def test_the_last_look_waits_for_nobody(tenant: Tenant, ring: Ring, refusals: Refusals, shown: Shown) -> None:
    ring.put(size=1, whole=False)
    ring.put(size=2)
    refusals.collect(tenant, ended=True)
    assert shown() == [("refused", 2, 1), ("refusals-lost", None, 1)]


def test_the_last_look_is_before_the_files_go(
    house: House, ring: Ring, refusals: Refusals, shown: Shown
) -> None:
    tenants = house.registry.tenants
    tenants.on_ending = lambda tenant: refusals.collect(tenant, ended=True)
    ring.put()
    for program in house.programs:
        house.end(program.pid)
    assert tenants.sweep() == ["team-a"]
    assert shown() == [("refused", 64, 1)]


def test_a_new_controller_tells_nothing_twice(
    house: House, tenant: Tenant, ring: Ring, refusals: Refusals, log: EventLog, shown: Shown
) -> None:
    ring.put(size=1)
    refusals.collect(tenant)
    ring.put(size=2)
    Refusals(EventLog(log.path), house.registry.inventory).collect(tenant)
    assert shown() == [("refused", 1, 1), ("refused", 2, 1)]


def test_another_tenant_of_the_same_name_begins_anew(
    house: House, tenant: Tenant, ring: Ring, log: EventLog, shown: Shown
) -> None:
    log.add(event("refused", "team-a", count=1, refusals=500), event("started", "team-a", count=0))
    ring.put(size=2)
    Refusals(log, house.registry.inventory).collect(tenant)
    assert shown()[-1] == ("refused", 2, 1)
