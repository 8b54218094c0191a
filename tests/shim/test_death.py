"""However a process ends, its memory is the others' at once; what only looks like an end leaves it its own.

Another process of the tenant, which has its context already, asks once each time: who has ended is found by
that one allocation, or not at all.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tenants import GIB, MIB, Tenant

from gshare.shim import abi, sim

HERE = Path(__file__).resolve().parent
OFD_SETLK = 37
OUT_OF_MEMORY = 2
NOT_PERMITTED = 800

ASK = """
start(); out(0)
for line in sys.stdin:
    code, p = alloc(int(line))
    out(code or free(p))
"""


class Other:
    """A process of the tenant that asks for memory, once each time, and gives it back."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.program = tenant.start(ASK)
        assert line_of(self.program) == "0"

    @property
    def whole_bytes(self) -> int:
        """All that one process can have beside its context."""
        return self.tenant.limits.device(0).memory_limit_bytes - self.tenant.context_bytes[0]

    def ask(self, bytes_: int) -> int:
        """What one attempt to have so much is answered."""
        assert self.program.stdin is not None
        self.program.stdin.write(f"{bytes_}\n")
        self.program.stdin.flush()
        return int(line_of(self.program))

    def finds_all(self) -> None:
        """Nothing is anybody else's, to the byte, at the first attempt; and nothing is left in the books."""
        assert self.ask(self.whole_bytes) == 0
        assert self.ask(self.whole_bytes + 1) == OUT_OF_MEMORY
        usage = self.tenant.usage
        assert usage.device(0).used_bytes == self.tenant.context_bytes[0]
        assert [slot.pid for slot in usage.slots(0)] == [self.program.pid]

    def was_within(self) -> None:
        """Never has all of the tenant been charged more than it was granted."""
        limit = self.tenant.limits.device(0).memory_limit_bytes
        assert 0 < self.tenant.usage.device(0).peak_bytes <= limit

    def finds_all_but(self, bytes_: int) -> None:
        assert self.ask(self.whole_bytes - bytes_ + 1) == OUT_OF_MEMORY
        assert self.ask(self.whole_bytes - bytes_) == 0


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    if not line:
        raise AssertionError(program.communicate()[1])
    return line


def wait_for_end(pid: int) -> None:
    """Whoever's child it is."""
    descriptor = os.pidfd_open(pid)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


@contextmanager
def holding(tenant: Tenant, then: str = "", bytes_: int = 300 * MIB) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds memory; it has ended when this has."""
    code = f"start(); assert alloc({bytes_})[0] == 0\n{then}\nout(os.getpid()); sys.stdin.read()"
    program = tenant.start(code)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


@pytest.fixture
def other(tenant: Tenant) -> Iterator[Other]:
    process = Other(tenant)
    yield process
    process.was_within()
    process.program.communicate(timeout=60)


@pytest.fixture(scope="session")
def death(build: Callable[..., Path]) -> Path:
    library = Path(sim.LIBRARY_DIR) / "libcuda.so.1"
    return build("death", "death.c", options=[f"-I{HERE.parents[1]}/shim/sim/driver", str(library)])


def start(death: Path, tenant: Tenant, bytes_: int, end: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [str(death), str(bytes_), end]
    return subprocess.Popen(command, env=tenant.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


# -------- many --------


def test_a_thousand_one_after_another(tenant: Tenant, other: Other, death: Path) -> None:
    """Each takes nearly all, and would be refused if the one before it had left a byte."""
    bytes_ = other.whole_bytes - tenant.context_bytes[0]
    for number in range(1000):
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
    with holding(tenant) as holder:
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


# -------- children --------


def test_a_parent_that_dies_first_leaves_its_child_alone(tenant: Tenant, other: Other) -> None:
    """Both began CUDA after the fork: two slots, two charges."""
    code = """
child = os.fork()
start(); assert alloc((100 if child else 200) * MIB)[0] == 0
out(os.getpid())
if child: time.sleep(600)
sys.stdin.readline(); out(alloc(MIB)[0])
"""
    context = tenant.context_bytes[0]
    with tenant.start(code) as parent:
        pids = {int(line_of(parent)), int(line_of(parent))}
        (child,) = pids - {parent.pid}
        assert {slot.pid for slot in tenant.usage.slots(0)} == {other.program.pid, *pids}
        other.finds_all_but(300 * MIB + 2 * context)
        parent.kill()
        parent.wait(timeout=60)
        other.finds_all_but(200 * MIB + context)
        assert parent.stdin is not None
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert line_of(parent) == "0", "the child goes on"
        wait_for_end(child)
        other.finds_all()


@pytest.mark.parametrize("how", ["posix_spawn", "vfork and exec"])
def test_a_spawned_child_is_a_process_of_its_own(tenant: Tenant, other: Other, how: str) -> None:
    code = "from driver_calls import *\nstart(); out(alloc(50 * MIB)[0]); import sys; sys.stdin.readline()"
    command = f"{sys.executable!r}, [{sys.executable!r}, '-c', {code!r}]"
    spawn = f"pid = os.posix_spawn({command}, os.environ)"
    if how != "posix_spawn":  # CPython's subprocess, with nothing to do between the two
        spawn = (
            f"import subprocess; pid = subprocess.Popen({command.partition(', ')[2]}, close_fds=False).pid"
        )
    context = tenant.context_bytes[0]
    with holding(tenant, f"{spawn}; out(pid)", 100 * MIB) as parent:
        said = [line_of(parent) for _ in range(3)]
        child = max(int(line) for line in said if int(line) not in (0, parent.pid))
        other.finds_all_but(150 * MIB + 2 * context)
        os.kill(child, signal.SIGKILL)
        wait_for_end(child)
        other.finds_all_but(100 * MIB + context)
        parent.kill()
        parent.wait(timeout=60)
        other.finds_all()


def test_a_daemon_is_charged_until_it_ends(tenant: Tenant, other: Other) -> None:
    """Forked twice, in a session of its own, with every descriptor closed that it did not ask for."""
    code = """
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.closerange(3, 65536)
start(); os.closerange(3, 65536); code, p = alloc(200 * MIB); os.closerange(3, 65536)
out(os.getpid()); sys.stdin.readline()
"""
    with tenant.start(code) as first:
        daemon = int(line_of(first))
        assert first.wait(timeout=60) == 0
        other.finds_all_but(200 * MIB + tenant.context_bytes[0])
        os.kill(daemon, signal.SIGKILL)
        wait_for_end(daemon)
        other.finds_all()


# -------- pids --------

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare() -> bool:
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


namespaces = pytest.mark.skipif(not can_unshare(), reason="no PID namespace may be made here")


def in_namespace(tenant: Tenant, code: str) -> subprocess.Popen[str]:
    """Run a Python program as process 1 of its own."""
    pipe = subprocess.PIPE
    preamble = "import json, os, signal, subprocess, sys\nfrom driver_calls import *\n"
    unpreloaded = {**tenant.environ, "LD_PRELOAD": ""}
    inside = ["env", f"LD_PRELOAD={tenant.environ['LD_PRELOAD']}", sys.executable, "-c", preamble + code]
    return subprocess.Popen(
        [*NAMESPACE, *inside], env=unpreloaded, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


@namespaces
def test_two_processes_of_the_same_pid(tenant: Tenant, other: Other) -> None:
    code = "start(); assert alloc(100 * MIB)[0] == 0; out(os.getpid()); sys.stdin.readline()"
    one = 100 * MIB + tenant.context_bytes[0]
    both = [in_namespace(tenant, code) for _ in range(2)]
    assert [line_of(program) for program in both] == ["1", "1"]
    slots = [slot for slot in tenant.usage.slots(1) if slot.pid == 1]
    assert [slot.devices[0].held_bytes for slot in slots] == [one, one]
    other.finds_all_but(2 * one)
    both[0].communicate("\n", timeout=60)
    other.finds_all_but(one)
    both[1].kill()  # and with it, by --kill-child, its process 1
    both[1].wait(timeout=60)
    while any(slot.pid == 1 for slot in tenant.usage.slots(0)):
        pass
    other.finds_all()


@namespaces
def test_a_pid_that_comes_again_is_another_process(tenant: Tenant, other: Other) -> None:
    """The second one gets the pid of the first, which died with memory; nothing is taken for its own."""
    code = """
hold = "from driver_calls import *\\nstart(); out(alloc(300 * MIB)[0]); import sys; sys.stdin.readline()"
def next_one():
    with open("/proc/sys/kernel/ns_last_pid", "w") as file: file.write("999")
    return subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for _ in range(2):
    holder = next_one(); out([holder.pid, int(holder.stdout.readline())]); sys.stdin.readline()
    holder.kill(); holder.wait()
out(0); sys.stdin.readline()
"""
    one = 300 * MIB + tenant.context_bytes[0]
    with in_namespace(tenant, code) as program:
        for _ in range(2):
            assert line_of(program) == "[1000, 0]"
            (slot,) = [slot for slot in tenant.usage.slots(1) if slot.pid == 1000]
            assert slot.devices[0].held_bytes == one
            other.finds_all_but(one)
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
        assert line_of(program) == "0"
        other.finds_all()
        program.communicate("\n", timeout=60)


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
