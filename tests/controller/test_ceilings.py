"""Ceilings and the queue of a machine's controller, asked by real users."""

from pathlib import Path

import pytest
from machine_wide import GIB, everybodys
from users import ALICE, BOB, needs_root, users

from gshare.controller.errors import NotPermitted, OverCapacity
from gshare.controller.protocol import Change, GetQueue, Reload, SetLimits
from gshare.controller.replies import Queued
from gshare.controller.units import Memory

pytestmark = needs_root

CONFIGURED = f"""
[users.{ALICE}]
mem = "3G"
[users."*"]
mem = "100%"
"""


def test_users_are_held_to_their_ceilings_and_see_their_own_place_in_the_queue(tmp_path: Path) -> None:
    file = tmp_path / "gshare.toml"
    file.write_text(CONFIGURED)
    with everybodys(GSHARE_CONFIG=str(file)) as machine, users((ALICE, ()), (ALICE, ()), (BOB, ())) as them:
        alice, alice_too, bob = them
        first = machine.ask(machine.admission(memory_bytes=2 * GIB), alice)
        refused = rf"user {ALICE} on GPU 0 has 1G left to promise of 3G; {first.tenant} 2G holds the rest"
        with pytest.raises(OverCapacity, match=refused):
            machine.ask(machine.admission(memory_bytes=2 * GIB), alice_too)
        with pytest.raises(OverCapacity, match="3G at most"):
            machine.ask(SetLimits(first.tenant, Change(memory=Memory(4 * GIB, None))), alice)
        waits = machine.ask(machine.admission(memory_bytes=2 * GIB, wait_ms=0), alice_too)
        assert isinstance(waits, Queued)
        machine.ask(machine.admission(memory_bytes=100 * GIB), bob)
        (seen,) = machine.ask(GetQueue(), bob).waiting
        assert (seen.user, seen.command, seen.why) == (str(ALICE), "", "")
        (own,) = machine.ask(GetQueue(), alice).waiting
        assert own.pid == alice_too.pid
        assert "left to promise of 3G" in own.why
        with pytest.raises(NotPermitted):
            machine.ask(Reload(), alice)
        them.remove(alice)
        alice.end()
        assert machine.ask(machine.admission(memory_bytes=2 * GIB, wait_ms=2000), alice_too).tenant
