"""The machine's controller killed, stopped and replaced under load: no program notices, nothing is lost."""

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from machine_wide import GIB, Everybodys, everybodys
from users import ALICE, User, needs_root, users

from gshare.controller.errors import GshareError
from gshare.controller.protocol import Change, GetProcesses, GetQuotas, SetLimits, SetQuota
from gshare.controller.units import Memory
from gshare.shim import LIBRARY, preload_environment

pytestmark = needs_root

NOTICED_NS = 1_000_000_000
"""A hundred times what is promised, for a machine that does much else."""

MOST_MORE = 5
"""Slow rounds of a million or so, beside twice as many as there are without kills."""


class Told(NamedTuple):
    """What steady.c says at its end."""

    rounds: int
    failures: int
    longest_ns: int
    slow: int
    longest_blocked_ns: int
    """Without the time in which it waited for a core: that is the machine's."""
    blocked: int
    """So many were slow but for that."""


ZYGOTE = """
import os, sys
from gshare.controller import __main__ as controller
child, arguments = 0, ["controller", "--machine-wide", "--ready-fd"]
for line in sys.stdin:
    if child:
        os.waitpid(child, 0)
    child = os.fork()
    if not child:
        os.write(1, b"pid %d\\n" % os.getpid())  # before it can be ready
        sys.argv = [*arguments, str(os.dup(1))]
        sys.exit(controller.main())
"""
"""Starts controllers that have loaded everything: so soon that many more can be killed in a second."""


class Zygote:
    """A process that becomes one controller after another."""

    def __init__(self, machine: Everybodys) -> None:
        self.machine = machine
        pipe, log = subprocess.PIPE, machine.runtime.directory.parent / "log"
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ZYGOTE],
                env=machine.environment, stdin=pipe, stdout=pipe, stderr=errors,
            )  # fmt: skip
        self.said = b""
        self.pid = 0

    def begin(self) -> None:
        """Start the next one, the last one being dead."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.said = b""
        self._hear(b"\n", 20)
        told, _, self.said = self.said.partition(b"\n")  # before it, what the last one may have said
        self.pid = int(told.rpartition(b"pid ")[2])

    def kill_after(self, seconds: float, *, ready: bool) -> None:
        """That long after it has begun, or after it has heard clients."""
        if ready:
            self._hear(b"ready", 20)
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)

    def _hear(self, word: bytes, seconds: float) -> None:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while word not in self.said:
            heard, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            assert heard, (self.said, (self.machine.runtime.directory.parent / "log").read_text()[-3000:])
            self.said += os.read(self.process.stdout.fileno(), 100)

    def end(self) -> None:
        """The last one is dead."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture
def machine() -> Iterator[Everybodys]:
    with everybodys() as made:
        yield made


@contextmanager
def steady(machine: Everybodys, told: list[Told]) -> Iterator[User]:
    """A program of Alice's that takes and gives back memory throughout; what it says comes last in `told`."""
    program = machine.program("steady.c")
    with users((ALICE, ())) as (alice,):
        directory = machine.ask(machine.admission("train", 4 * GIB), alice).directory
        library = Path(program[0]).parent / LIBRARY.name
        with subprocess.Popen(
            program,
            env=preload_environment(directory, machine.environment, library=library),
            user=ALICE, group=ALICE, extra_groups=[], cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as running:  # fmt: skip
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield alice
            told.append(Told(*map(int, running.communicate(timeout=30)[0].split())))


class Changes(threading.Thread):
    """Changes limits and quotas all the time; remembers what it asked for last, and what was agreed to."""

    def __init__(self, machine: Everybodys) -> None:
        super().__init__(daemon=True)
        self.machine = machine
        self.asked = self.agreed = 4
        self.quotas: set[str] = set()
        self.ended = False

    def run(self) -> None:
        number = 0
        while not self.ended:
            number += 1
            self.asked = 2 + number % 7
            with suppress(GshareError):
                self.machine.ask(SetLimits(f"train@{ALICE}", Change(memory=Memory(self.asked * GIB, None))))
                self.agreed = self.asked
                name = f"team-{number % 50}"
                self.machine.ask(SetQuota(name, Change(memory=Memory(GIB, None))))
                self.quotas.add(name)

    def end(self) -> None:
        self.ended = True
        self.join(30)


def survive(machine: Everybodys, kills: int, seed: int) -> Told:
    """Controllers are killed while they start, and while they work."""
    chance = random.Random(seed)
    told: list[Told] = []
    with steady(machine, told) as alice:
        changes, zygote = Changes(machine), Zygote(machine)
        changes.start()
        machine.end(signal.SIGKILL)
        for _ in range(kills - 1):
            zygote.begin()
            zygote.kill_after(chance.uniform(0, 0.1), ready=chance.random() < 0.7)
        zygote.end()
        machine.begin()
        changes.end()
        rows = machine.ask(GetProcesses(), alice).processes
        assert {row.memory_limit_bytes for row in rows} <= {changes.agreed * GIB, changes.asked * GIB}
        assert {row.tenant for row in rows} == {f"train@{ALICE}"}
        assert changes.quotas <= {quota.tenant for quota in machine.ask(GetQuotas()).quotas}
        assert changes.quotas
    assert told[0].rounds > 10
    assert told[0].failures == 0
    return told[0]


def test_a_controller_that_is_killed_again_and_again_loses_nothing(machine: Everybodys) -> None:
    assert survive(machine, kills=50, seed=1).longest_ns < NOTICED_NS


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_kills(machine: Everybodys) -> None:
    """Beside it the same program under a controller of its own, which nobody kills: so slow is a machine."""
    unharmed: list[Told] = []
    with everybodys() as other, steady(other, unharmed):
        changes = Changes(other)
        changes.start()
        killed = survive(machine, kills=1000, seed=2)
        changes.end()
    print("killed:", killed)
    print("beside them:", *unharmed)
    assert killed.blocked <= MOST_MORE + 2 * unharmed[0].blocked


def stop_for(machine: Everybodys, seconds: float) -> Told:
    told: list[Told] = []
    with steady(machine, told) as alice:
        machine.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        machine.process.send_signal(signal.SIGCONT)
        assert machine.ask(GetProcesses(), alice).processes
    assert told[0].failures == 0
    return told[0]


def test_a_controller_that_stands_still_is_not_noticed(machine: Everybodys) -> None:
    assert stop_for(machine, 0.5).longest_ns < NOTICED_NS


@pytest.mark.soak
def test_ten_seconds_of_standing_still(machine: Everybodys) -> None:
    print(stop_for(machine, 10))


def test_a_tenant_of_another_version_is_left_alone_and_its_name_is_taken(machine: Everybodys) -> None:
    """As after an upgrade over two versions of shared memory: its programs go on with what they have."""
    told: list[Told] = []
    with steady(machine, told) as alice:
        machine.end(signal.SIGKILL)
        (limits,) = [
            link
            for pid in machine.keepers()
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if os.readlink(link).startswith("/memfd:gshare-limits") and os.access(link, os.W_OK)
        ][:1]
        with open(limits, "r+b") as file:
            file.seek(8)
            file.write(b"\x01\0\0\0")
        machine.begin()
        with pytest.raises(GshareError, match="of version 1, where this gshare is of version"):
            machine.ask(machine.admission("train"), alice)
        assert machine.ask(machine.admission("other"), alice).tenant == f"other@{ALICE}"
    assert told[0].failures == 0


def test_what_nobody_holds_any_more_is_lost_and_said_to_be(machine: Everybodys) -> None:
    """Keeper and controller killed together: who runs goes on, nobody joins, nothing is without a limit."""
    told: list[Told] = []
    with steady(machine, told) as alice:
        for pid in (*machine.keepers(), machine.process.pid):
            os.kill(pid, signal.SIGKILL)
        machine.process.wait()
        machine.begin()
        with pytest.raises(GshareError, match="its memory is lost"):
            machine.ask(machine.admission("train"), alice)
    assert told[0].failures == 0
    deadline = time.monotonic() + 10
    while True:
        with users((ALICE, ())) as (alice,), suppress(GshareError):
            machine.ask(machine.admission("train"), alice)
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
