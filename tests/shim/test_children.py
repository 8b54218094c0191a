"""A process's children, and others that call themselves by its number, are processes of their own.

Each has a slot and a charge of its own from its first call on, and whose end is whose is never mistaken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from deaths import Other, holding, line_of, wait_for_end
from tenants import MIB, Tenant

# -------- children --------


def test_a_parent_that_dies_first_leaves_its_child_alone(tenant: Tenant, other: Other) -> None:
    """Both began CUDA after the fork: two slots, two charges."""
    code = """
child = os.fork()
start(); assert alloc((100 if child else 200) * MIB)[0] == 0
out(os.getpid())
if child: sys.stdin.read()
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
