"""What the audit does: who is warned, paused and stopped, and who must not be."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gshare.controller import region
from gshare.controller.auditor import Auditor
from gshare.controller.config import Audit
from gshare.controller.devices import REAL
from gshare.controller.errors import GshareError
from gshare.controller.stopper import GRACE_NS, Stopper
from gshare.controller.suspicion import OVER_QUOTA, TAMPERING, UNMANAGED, Suspect
from gshare.controller.tenants import Tenant

from .conftest import House, device

SECOND = 1_000_000_000
UUID = device(0).uuid
NOBODY_UID = 20001


class Told:
    """An auditor in the house's tenants, at times that a test says."""

    def __init__(self, house: House, rules: Audit, stopper: Stopper | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.auditor = Auditor(
            house.registry.tenants, self.events.append, lambda: rules, stopper or Stopper()
        )

    def at(self, seconds: float, *suspects: Suspect, answered: bool = True) -> list[tuple[str, str]]:
        """What is done, about whom, when these are found; not `answered`: the driver hangs."""
        self.events.clear()
        found = {suspect: {"bytes": 1} for suspect in suspects}
        self.auditor.carry_out(found, int(seconds * SECOND), [REAL] if answered else [])
        return [(event["what"], event["action"]) for event in self.events]


@pytest.fixture
def tenant(house: House) -> Tenant:
    return house.registry.tenants.by_name[house.registry.admit(house.request()).tenant]


def ended(house: House, pid: int) -> int | None:
    return next(program for program in house.programs if program.pid == pid).poll()


def test_a_tenant_is_warned_then_paused_then_stopped(house: House, tenant: Tenant) -> None:
    told = Told(house, Audit(over_quota="stop", pause_after=10, stop_after=20))
    suspect, pid = Suspect(OVER_QUOTA, tenant.name, UUID), tenant.runs[0].pid
    assert told.at(0, suspect) == [(OVER_QUOTA, "warned")]
    assert told.at(9, suspect) == []
    assert not tenant.files.limits.paused
    assert told.at(10, suspect) == [(OVER_QUOTA, "paused")]
    assert tenant.files.limits.paused
    tenant.files.limits.set_paused(False)
    assert told.at(11, suspect) == []
    assert tenant.files.limits.paused, "whoever let it go on: not while this lasts"
    assert ended(house, pid) is None
    assert told.at(30, suspect) == [(OVER_QUOTA, "stopped")]
    program = next(program for program in house.programs if program.pid == pid)
    assert program.wait(60) == -signal.SIGTERM


def test_who_mends_their_ways_goes_on(house: House, tenant: Tenant) -> None:
    told = Told(house, Audit(over_quota="stop", pause_after=10, stop_after=20))
    suspect = Suspect(OVER_QUOTA, tenant.name, UUID)
    told.at(0, suspect)
    told.at(10, suspect)
    assert told.at(11) == []
    assert not tenant.files.limits.paused
    assert told.at(100, suspect) == [(OVER_QUOTA, "warned")], "all begins anew"
    assert not tenant.files.limits.paused


def test_nobody_goes_on_because_the_driver_hangs(house: House, tenant: Tenant) -> None:
    told = Told(house, Audit(over_quota="stop", pause_after=10, stop_after=20))
    suspect = Suspect(OVER_QUOTA, tenant.name, UUID)
    told.at(0, suspect)
    assert told.at(10, suspect) == [(OVER_QUOTA, "paused")]
    for second in range(11, 1000):
        assert told.at(second, answered=False) == []
    assert tenant.files.limits.paused
    assert ended(house, tenant.runs[0].pid) is None, "nobody is stopped for what is not known"
    told.at(1000), told.at(1009)
    assert tenant.files.limits.paused, "whoever has not mended their ways is found again in that time"
    told.at(1010)
    assert not tenant.files.limits.paused


def test_a_pause_of_somebody_elses_stays(house: House, tenant: Tenant) -> None:
    told = Told(house, Audit(over_quota="pause", pause_after=0))
    tenant.files.limits.set_paused(True)
    assert told.at(0, Suspect(OVER_QUOTA, tenant.name, UUID)) == [(OVER_QUOTA, "warned")]
    told.at(1)
    assert tenant.files.limits.paused


def adopted(house: House, tenant: Tenant) -> Tenant:
    """The tenant in the hands of the next controller."""
    house.registry.tenants.close()
    house.restart()
    return house.registry.tenants.adopt(tenant.name)


def test_who_was_paused_is_so_still_after_a_restart_and_goes_on_afterwards(
    house: House, tenant: Tenant
) -> None:
    rules = Audit(over_quota="pause", pause_after=30)
    suspect, told = Suspect(OVER_QUOTA, tenant.name, UUID), Told(house, rules)
    told.at(0, suspect)
    told.at(30, suspect)
    tenant = adopted(house, tenant)
    told = Told(house, rules)
    told.at(100)
    assert tenant.files.limits.paused, "it could not be found yet"
    assert told.at(101, suspect) == [(OVER_QUOTA, "warned")]
    told.at(120, suspect)
    assert tenant.files.limits.paused, "nor has it mended its ways"
    told.at(121)
    assert not tenant.files.limits.paused
    tenant.files.limits.set_paused(True)
    tenant = adopted(house, tenant)
    told = Told(house, rules)
    for seconds in (200, 300):
        told.at(seconds)
    assert tenant.files.limits.paused, "this pause is somebody else's"


def test_a_full_disk_keeps_nobody_from_being_paused(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise GshareError("tenant.json", "cannot be written")

    monkeypatch.setattr(region, "write_json", full)
    told = Told(house, Audit(over_quota="pause", pause_after=0))
    assert told.at(0, Suspect(OVER_QUOTA, tenant.name, UUID))[-1] == (OVER_QUOTA, "paused")
    assert tenant.files.limits.paused
    told.at(20)
    assert not tenant.files.limits.paused


def test_a_tenant_that_ends_meanwhile_is_no_error(house: House, tenant: Tenant) -> None:
    told = Told(house, Audit(over_quota="stop", pause_after=0, stop_after=0))
    told.at(0, Suspect(OVER_QUOTA, tenant.name, UUID))
    house.registry.tenants.remove(tenant.name)
    told.at(1, Suspect(OVER_QUOTA, tenant.name, UUID))
    told.at(2)


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not listen to SIGTERM."""
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def test_who_does_not_listen_is_killed(house: House, stubborn: subprocess.Popen[bytes]) -> None:
    told = Told(house, Audit(unmanaged="stop", stop_after=5))
    suspect = Suspect(UNMANAGED, "", UUID, stubborn.pid, 1)
    assert told.at(0, suspect) == [(UNMANAGED, "warned")]
    assert told.at(5, suspect) == [(UNMANAGED, "stopped")]
    assert told.at(5 + GRACE_NS / SECOND - 0.1, suspect) == []
    assert told.at(5 + GRACE_NS / SECOND, suspect) == [(UNMANAGED, "killed")]
    assert stubborn.wait(60) == -signal.SIGKILL


def test_nobody_ends_for_what_a_slot_says(
    house: House, tenant: Tenant, stubborn: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a tenant's users can write another's process into it."""
    told = Told(house, Audit(over_quota="stop", pause_after=0, stop_after=0, tampering="stop"))
    own = tenant.runs[0].pid
    said = {tenant.name: {own, stubborn.pid}}
    monkeypatch.setattr(house.registry.tenants, "processes", lambda: said)
    told.at(0, Suspect(OVER_QUOTA, tenant.name, UUID), Suspect(TAMPERING, tenant.name, UUID, stubborn.pid, 1))
    assert [event["pid"] for event in told.events if event["action"] == "stopped"] == [own]
    told.at(0 + 2 * GRACE_NS / SECOND, Suspect(TAMPERING, tenant.name, UUID, stubborn.pid, 1))
    assert stubborn.poll() is None


def test_without_the_word_nobody_is_stopped(house: House, stubborn: subprocess.Popen[bytes]) -> None:
    for word, done in (("ignore", []), ("warn", [(UNMANAGED, "warned")])):
        told = Told(house, Audit(unmanaged=word, stop_after=0))
        assert told.at(0, Suspect(UNMANAGED, "", UUID, stubborn.pid, 1)) == done
        assert told.at(1000, Suspect(UNMANAGED, "", UUID, stubborn.pid, 1)) == []
    assert stubborn.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_users_own_controller_ends_nobody_elses_process(house: House) -> None:
    """Not even where it could, as root's can."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, signal; os.setuid({NOBODY_UID}); print(flush=True); signal.pause()",
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    suspect = Suspect(UNMANAGED, "", UUID, child.pid, 1)
    told = Told(house, Audit(unmanaged="stop", stop_after=0))
    assert told.at(0, suspect) == [(UNMANAGED, "warned"), (UNMANAGED, "not-permitted")]
    assert told.at(99, suspect) == []
    assert child.poll() is None
    told = Told(house, Audit(unmanaged="stop", stop_after=0), Stopper(machine_wide=True))
    assert told.at(0, suspect)[-1] == (UNMANAGED, "stopped")
    assert child.wait(60) == -signal.SIGTERM


def test_neither_the_first_process_nor_the_controller_is_ended() -> None:
    for stopper in (Stopper(), Stopper(machine_wide=True)):
        assert not stopper.may_stop(1)
        assert not stopper.may_stop(os.getpid())
