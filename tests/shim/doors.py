"""Random programs that take memory through every door, and what must hold of the machine's books."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenants import MIB, Tenant

from gshare.shim import sim

CONTEXTS = 3
"""That a device's quota has room for, beside ROOM."""
ROOM = 200 * MIB
EXACT = ("linear", "pool", "physical", "array", "graph")
"""Charged to the byte, after a wait.  Managed memory is charged wherever it is; the rest are upper bounds."""
MEMORY_OF = {"physical": "vmm"}
"""The names of the machine's books, where they differ."""
LETTER_BYTES = 256
"""More than one has."""
LAST_CALLS = 60
MOST_HOPS = 2
"""That what is shared is passed on from process to process."""
PAUSE_S = 0.002
LOCKED_S = 0.05
"""A machine that is locked for longer is locked by a program that is stopped."""


class Violation(AssertionError):
    """What must hold did not; the message says when and by how much."""


@dataclass(frozen=True)
class Case:
    """Random programs that run at once."""

    seed: int
    processes: int = 1
    threads: int = 1
    rounds: int = 8
    steps: int = 40
    """In each thread between two barriers."""
    shares: bool = False
    """What was exported goes to whichever program takes it."""
    faults: str = ""


@dataclass
class Program:
    """One process: it does what it is told, and says when it has."""

    popen: subprocess.Popen[str]
    machine: str

    def tell(self, command: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()

    def answer(self) -> str:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise Violation(f"a program ended by itself: {self.popen.wait()}")
        return line.strip()

    def is_ready(self, within_s: float) -> bool:
        return bool(select.select([self.popen.stdout], [], [], within_s)[0])


class Bench:
    """A machine, its tenants, and what all of their random programs have called."""

    def __init__(self, tenants: Sequence[Tenant], program: Path) -> None:
        self.tenants = tenants
        self.program = program
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.programs = 0
        self.shares = False
        self.looks = 0

    def hold(self, case: Case) -> None:
        """Run the case; raise Violation with the shortest program that is found to show what went wrong."""
        try:
            self._run(case)
        except Violation as violation:
            raise Violation(f"{case}: {violation}\n{self._shorter(case)}") from None

    def _shorter(self, case: Case) -> str:
        """Look for it in one thread, step by step."""
        alone = replace(case, processes=1, threads=1, rounds=case.rounds * case.steps, steps=1)
        told = self.tenants[0].folder / "calls"
        limits = [device.memory_limit_bytes for device in self.tenants[0].limits.devices]
        fresh = self.tenants[0].beside(self.tenants[0].folder / "alone", limits)  # the others have not ended
        try:
            with told.open("w") as errors:
                Bench([fresh], self.program)._run(alone, errors=errors.fileno())
        except Violation as violation:
            calls = told.read_text().splitlines()[-LAST_CALLS:]
            return "\n".join([f"in one thread: {violation}; its last calls:", *calls])
        return "not in one thread alone"

    def refused(self) -> int:
        """Return how often a program was over its quota."""
        return sum(tenant.usage.refusals for tenant in self.tenants)

    # -------- a case --------

    def _run(self, case: Case, errors: int | None = None) -> None:
        # Who has passed on what is another's lets go of it at a wait, and its maker notices at the next one.
        waits = MOST_HOPS + 2 if case.shares else 1
        self.shares = case.shares
        with self._boxes() as boxes, self._programs(case, boxes, errors) as programs:
            for first in range(0, case.rounds * case.steps, case.steps):
                self._all(programs, f"run {first} {first + case.steps}")
                self._check(programs, f"after step {first + case.steps}")
                if not case.faults:
                    for _ in range(waits):
                        self._all(programs, "sync")
                    self._check(programs, f"synchronised after step {first + case.steps}", exact=True)
            # Twice: a program that could have no context before, for all the others, can have one now.
            for command in ("close", "free", *["sync"] * waits, "leave", "free", *["sync"] * waits, "leave"):
                self._all(programs, command)
                for box in boxes:
                    empty(box[0])
                self._check(programs, f"after {command}")
            self._count(programs)
            self._check(programs, "at the end", empty=True)
        for tenant in self.tenants:
            for index in range(len(tenant.context_bytes)):
                assert tenant.usage.device(index).used_bytes == 0, "after the last process"

    @contextmanager
    def _boxes(self) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
        """A mailbox for the programs of each tenant."""
        with ExitStack() as stack:
            boxes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in self.tenants]
            for end in (end for box in boxes for end in box):
                stack.enter_context(end).setblocking(False)
            yield boxes

    @contextmanager
    def _programs(
        self, case: Case, boxes: Sequence[Sequence[socket.socket]], errors: int | None
    ) -> Iterator[list[list[Program]]]:
        """The programs of each tenant."""
        programs: list[list[Program]] = []
        try:
            for number, tenant in enumerate(self.tenants):
                ends = [end.fileno() for end in boxes[number]]
                programs.append([])
                for i in range(case.processes):
                    seed = case.seed * 100 + number * 10 + i
                    mailbox = map(str, ends) if case.shares else ("-1", "-1")
                    command = [str(self.program), str(seed), str(case.threads), *mailbox]
                    variables = {"SIMGPU_FAULTS": case.faults} if case.faults else {}
                    if errors is not None:
                        variables["DOORS_TELL"] = "1"
                    popen = subprocess.Popen(
                        command,
                        env={**tenant.environ, **variables},
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        text=True,
                        pass_fds=ends,
                    )
                    programs[-1].append(Program(popen, tenant.machine))
            for program in (p for of_tenant in programs for p in of_tenant):
                assert program.answer() == "ready"
            yield programs
        finally:
            for program in (p for of_tenant in programs for p in of_tenant):
                assert program.popen.stdin is not None
                assert program.popen.stdout is not None
                with program.popen:
                    pass

    def _all(self, programs: list[list[Program]], command: str) -> None:
        """Have all do it at once; look at them in the midst of it."""
        running = [program for of_tenant in programs for program in of_tenant]
        for program in running:
            program.tell(command)
        while not all(program.is_ready(PAUSE_S) for program in running):
            with frozen(running) as truth:
                if truth:
                    self.looks += 1
                    self._compare(programs, truth, f"in the midst of {command}")
        for program in running:
            program.answer()

    # -------- what must hold --------

    def _check(
        self, programs: list[list[Program]], when: str, *, exact: bool = False, empty: bool = False
    ) -> None:
        """Nobody does anything now."""
        truth = sim.stat(self.tenants[0].machine)["devices"]
        self._compare(programs, truth, when, settled=exact or empty)
        for tenant, of_tenant in zip(self.tenants, programs, strict=True):
            for index, device in enumerate(truth):
                used = tenant.usage.device(index).used_bytes
                taken = memory_of(device, of_tenant)
                if empty and used:
                    raise Violation(f"{when}: device {index} is charged {used}, {dict(taken)} taken")
                charged = charges_of(tenant, index)
                if sum(charged.values()) != used:
                    raise Violation(f"{when}: device {index} is charged {used}, by kind {charged}")
                for kind in EXACT:
                    if exact and charged[kind] != taken[MEMORY_OF.get(kind, kind)]:
                        raise Violation(f"{when}: device {index} is charged {charged} for {dict(taken)}")

    def _compare(
        self, programs: list[list[Program]], truth: list[dict[str, Any]], when: str, *, settled: bool = False
    ) -> None:
        for tenant, of_tenant in zip(self.tenants, programs, strict=True):
            for index, device in enumerate(truth):
                limit = tenant.limits.device(index).memory_limit_bytes
                usage = tenant.usage.device(index)
                taken = memory_of(device, of_tenant)
                if self.shares and not settled:
                    del taken["vmm"]  # the machine notices late that nobody has a descriptor any more
                if not sum(taken.values()) <= usage.used_bytes <= usage.peak_bytes <= limit:
                    raise Violation(
                        f"{when}: device {index} of {limit}: charged {usage.used_bytes}, at most "
                        f"{usage.peak_bytes}, {dict(charges_of(tenant, index))}; "
                        f"{sum(taken.values())} taken: {dict(taken)}"
                    )

    def _count(self, programs: list[list[Program]]) -> None:
        for program in (p for of_tenant in programs for p in of_tenant):
            program.tell("calls")
            for name, good, bad in (call.split() for call in program.answer().split(",") if call):
                self.calls[name] += int(good)
                self.failed[name] += int(bad)
            self.programs += 1


def charges_of(tenant: Tenant, index: int) -> Counter[str]:
    """What the tenant's processes are charged, by kind."""
    charged: Counter[str] = Counter()
    for slot in tenant.usage.slots(index + 1):
        charged.update(slot.devices[index].charged_bytes)
    return charged


def memory_of(device: dict[str, Any], programs: Sequence[Program]) -> Counter[str]:
    """What the programs have of the device, by kind."""
    pids = {program.popen.pid for program in programs}
    memory: Counter[str] = Counter()
    for process in device["processes"]:
        if process["pid"] in pids and not process["ended"]:
            memory.update({kind: size for kind, size in process["memory"].items() if size})
    return memory


def empty(box: socket.socket) -> None:
    """Throw away what nobody has taken: a descriptor in it keeps memory."""
    try:
        while True:
            _, descriptors, _, _ = socket.recv_fds(box, LETTER_BYTES, 1)
            for descriptor in descriptors:
                os.close(descriptor)
    except BlockingIOError:
        return


@contextmanager
def frozen(programs: Sequence[Program]) -> Iterator[list[dict[str, Any]] | None]:
    """Stop the programs between any two instructions: the truth then, or None where one of them locks it."""
    pids = [program.popen.pid for program in programs]
    late = threading.Event()

    def thaw() -> None:
        late.set()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    timer = threading.Timer(LOCKED_S, thaw)
    timer.start()
    truth = sim.stat(programs[0].machine)["devices"]
    timer.cancel()
    timer.join()
    try:
        yield None if late.is_set() else truth
    finally:
        thaw()
