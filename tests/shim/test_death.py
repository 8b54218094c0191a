"""However a process ends, its memory is the others' at once; what only looks like an end leaves it its own.

Another process of the tenant, which has its context already, asks once each time: who has ended is found by
that one allocation, or not at all.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deaths import Other, holding, line_of
from tenants import GIB, MIB, Tenant

from gshare.shim import abi, sim

HERE = Path(__file__).resolve().parent
OFD_SETLK = 37
NOT_PERMITTED = 800


@pytest.fixture(scope="session")
def death(build: Callable[..., Path]) -> Path:
    library = Path(sim.LIBRARY_DIR) / "libcuda.so.1"
    return build("death", "death.c", options=[f"-I{HERE.parents[1]}/shim/sim/driver", str(library)])


def start(death: Path, tenant: Tenant, bytes_: int, end: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [str(death), str(bytes_), end]
    return subprocess.Popen(command, env=tenant.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


# -------- many --------


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_one_after_another(tenant: Tenant, other: Other, death: Path, count: int) -> None:
    """Each takes nearly all, and would be refused if the one before it had left a byte."""
    bytes_ = other.whole_bytes - tenant.context_bytes[0]
    for number in range(count):
        with start(death, tenant, bytes_, ("exit", "kill")[number % 2]) as program:
            assert program.communicate(timeout=60) == ("0\n", ""), number
        assert program.returncode == (0, -signal.SIGKILL)[number % 2]
    other.finds_all()


def test_two_hundred_at_once(new_tenant: Callable[..., Tenant], death: Path) -> None:
    count = 200
    tenant = new_tenant(profile="h200", limit_bytes=130 * GIB)
    other = Other(tenant)
    programs = [start(death, tenant, MIB, "wait") for _ in range(count)]
    assert [line_of(program) for program in programs] == ["0"] * count
    slots = tenant.usage.slots(1)
    assert {slot.pid for slot in slots} == {other.program.pid, *(program.pid for program in programs)}
    assert sum(slot.devices[0].held_bytes for slot in slots) == tenant.usage.device(0).used_bytes
    other.finds_all_but(count * (tenant.context_bytes[0] + MIB))
    for program in programs:
        program.kill()
    for program in programs:
        program.communicate(timeout=60)
    other.finds_all()
    other.was_within()
    other.program.communicate(timeout=60)


def test_a_slot_is_free_when_its_process_is_dead(tenant: Tenant, death: Path) -> None:
    """All slots but one are somebody's; the last one goes from hand to hand."""
    fd = os.open(tenant.folder / "usage", os.O_RDWR)
    lock_slots(fd, range(abi.MAX_SLOTS - 1))
    for _ in range(3):
        holder = start(death, tenant, MIB, "wait")
        assert line_of(holder) == "0"
        with start(death, tenant, MIB, "exit") as late:
            output, errors = late.communicate(timeout=60)
        assert output == f"{NOT_PERMITTED}\n"
        assert "all slots are taken" in errors
        holder.kill()
        holder.communicate()
    os.close(fd)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_full_table_of_living_processes(new_tenant: Callable[..., Tenant], death: Path) -> None:
    tenant = new_tenant(profile="h200", limit_bytes=130 * GIB)
    programs = [start(death, tenant, 0, "wait") for _ in range(abi.MAX_SLOTS)]
    assert {line_of(program) for program in programs} == {"0"}
    assert len(tenant.usage.slots(0)) == abi.MAX_SLOTS
    with start(death, tenant, 0, "exit") as late:
        assert late.communicate(timeout=60)[0] == f"{NOT_PERMITTED}\n"
    for victim in programs[::50]:
        victim.kill()
        victim.wait()
        with start(death, tenant, MIB, "exit") as late:
            assert late.communicate(timeout=60) == ("0\n", "")
    for program in programs:
        program.kill()
        program.communicate()
    Other(tenant).finds_all()


def lock_slots(fd: int, slots: range) -> None:
    """Be the living owner of these slots."""
    for slot in slots:
        at = abi.SLOT_LOCK_BASE + 2 * slot
        fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))


# -------- ways to end --------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_a_signal(tenant: Tenant, other: Other, number: signal.Signals) -> None:
    heed = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a job in the background ignores
    with holding(tenant, heed) as holder:
        line_of(holder)
        other.finds_all_but(300 * MIB + tenant.context_bytes[0])
        holder.send_signal(number)
        holder.wait(timeout=60)
        other.finds_all()


def test_a_zombie_holds_nothing(tenant: Tenant, other: Other) -> None:
    with holding(tenant) as holder:
        line_of(holder)
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert "State:\tZ" in Path(f"/proc/{holder.pid}/status").read_text()
        other.finds_all()


def test_who_is_stopped_is_not_dead(tenant: Tenant, other: Other) -> None:
    with holding(tenant, "out(0); sys.stdin.readline(); out(alloc(MIB)[0])") as holder:
        line_of(holder)
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        other.finds_all_but(300 * MIB + tenant.context_bytes[0])
        holder.send_signal(signal.SIGCONT)
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert line_of(holder) == "0", "it goes on as before"
        line_of(holder)
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        holder.kill()
        holder.wait(timeout=60)
        other.finds_all()


def test_the_first_threads_end_is_not_the_processs(tenant: Tenant, other: Other) -> None:
    """Its process looks like a zombie, and goes on."""
    then = """
context = new("cuCtxGetCurrent")[1]
def rest():
    must("cuCtxSetCurrent", context); out(0)
    sys.stdin.readline(); out(alloc(MIB)[0]); os.kill(os.getpid(), 9)
threading.Thread(target=rest).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""
    with holding(tenant, then) as holder:
        line_of(holder)
        while "State:\tZ" not in Path(f"/proc/{holder.pid}/status").read_text():
            pass
        other.finds_all_but(300 * MIB + tenant.context_bytes[0])
        output, _ = holder.communicate("\n", timeout=60)
        assert output == "0\n"
        other.finds_all()


def test_an_exec_gives_back_and_begins_anew(tenant: Tenant, other: Other) -> None:
    """The pid stays, the slot does not."""
    code = "from driver_calls import *\nimport sys\nstart(); out(alloc(100 * MIB)[0]); sys.stdin.readline()"
    then = f"out(0); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {code!r}])"
    with holding(tenant, then) as holder:
        line_of(holder)
        assert line_of(holder) == "0"
        held = {slot.pid: slot.devices[0].held_bytes for slot in tenant.usage.slots(1)}
        assert held[holder.pid] == 100 * MIB + tenant.context_bytes[0]
        other.finds_all_but(held[holder.pid])
        holder.communicate("\n", timeout=60)
        other.finds_all()


# -------- anywhere --------


@pytest.fixture(scope="session")
def doors(build: Callable[..., Path]) -> Path:
    """Random programs that take memory through every door."""
    sources = sorted(path.name for path in (HERE.parent / "programs" / "doors").glob("*.c"))
    folders = [f"-I{HERE.parents[1]}/shim/sim/{folder}" for folder in ("driver", "memory", "code")]
    library = str(Path(sim.LIBRARY_DIR) / "libcuda.so.1")
    return build("doors", *(f"doors/{name}" for name in sources), options=[*folders, library])


@pytest.mark.parametrize(
    ("rounds", "kills"), [(5, 8), pytest.param(100, 20, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
)
def test_kills_among_calls_of_every_kind(
    new_tenant: Callable[..., Tenant], doors: Path, rounds: int, kills: int
) -> None:
    """Programs of two threads are killed one by one, and others begin; each round ends with all of them."""
    tenant = new_tenant(profile="h200", limit_bytes=8 * GIB)
    other = Other(tenant)
    chance = random.Random(rounds)

    def begin() -> subprocess.Popen[str]:
        command = [str(doors), str(chance.randrange(1 << 30)), "2", "-1", "-1"]
        program = subprocess.Popen(command, env=tenant.environ, stdin=subprocess.PIPE, text=True)
        assert program.stdin is not None
        program.stdin.write("run 0 1000000\n")
        program.stdin.flush()
        return program

    for _ in range(rounds):
        running = [begin() for _ in range(4)]
        for _ in range(kills):
            time.sleep(chance.uniform(0.002, 0.03))
            victim = chance.randrange(len(running))
            assert running[victim].poll() is None, "it goes on until it is killed"
            running[victim].kill()
            running[victim].communicate()
            running[victim] = begin()
        most = tenant.usage.device(0).peak_bytes
        for program in running:
            program.kill()
        for program in running:
            program.communicate()
        assert most > other.tenant.context_bytes[0], "they had some of it"
        other.finds_all()
        assert tenant.devices()[0]["used_bytes"] == tenant.context_bytes[0]
    if rounds > 5:  # rare, and not about death: see the log of the soak run
        other.was_within()
    other.program.communicate(timeout=60)
