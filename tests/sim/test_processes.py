"""Processes come and go: kill -9, fork, exec, exit; the machine never stops and never loses a byte."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import ROOT, Machine, line, tell

from gshare.shim import sim

MIB = 1 << 20


def total(machine: Machine) -> None:
    device = machine.device()
    used = sum(p["gpu_ns"] for p in device["processes"]) + device["forgotten_gpu_ns"]
    assert used + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]
    assert device["used_bytes"] == sum(p["used_bytes"] for p in device["processes"])


def test_a_killed_process_frees_what_it_held_at_once(machine: Machine) -> None:
    victim = machine.start(
        "start(); function(); alloc(100 * MIB); spin(100_000*MS); out(os.getpid()); wait()"
    )
    pid = line(victim)
    victim.kill()
    victim.wait()
    free_bytes, all_bytes, own = machine.run(
        "start(); function(); f, t = info(); a, b = event(), event()\n"
        "record(a); spin(10*MS); record(b); sync()\n"
        "out([f, t, elapsed_ns(a, b)])"
    )
    assert all_bytes - free_bytes < 1000 * MIB
    assert own < 100_000_000  # nobody else is on the engine any more
    assert machine.process(pid)["ended"]
    assert machine.process(pid)["used_bytes"] == 0
    total(machine)


def test_an_ended_process_stays_listed(machine: Machine) -> None:
    pids = [machine.run("start(); spin(3*MS); sync(); out(os.getpid())") for _ in range(3)]
    processes = {p["pid"]: p for p in machine.device()["processes"]}
    assert all(processes[pid]["ended"] and processes[pid]["gpu_ns"] == 3_000_000 for pid in pids)
    assert all(processes[pid]["kernels"] == 1 for pid in pids)
    total(machine)


def test_a_forked_child_has_no_driver_but_may_start_its_own_before(machine: Machine) -> None:
    code = """
def child(work):
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, json.dumps(work()).encode()); os._exit(0)
    os.wait(); return json.loads(os.read(r, 1000))
before = child(lambda: [call("cuInit", 0), start() != 0, alloc(MIB)[0]])
start(); c, p = alloc(MIB)
after = child(lambda: [call("cuInit", 0), alloc(MIB)[0], call("cuCtxSynchronize"), free(p)])
out([before, after, free(p)])
"""
    assert machine.run(code) == [[0, True, 0], [3, 3, 3, 3], 0]
    assert machine.device()["used_bytes"] == 0


def test_exec_gives_everything_back(machine: Machine) -> None:
    program = machine.start(
        "start(); alloc(100 * MIB); out(1); wait(); os.execv('/bin/sleep', ['sleep', '30'])"
    )
    line(program)
    tell(program)
    deadline = time.monotonic() + 20
    while machine.device()["used_bytes"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert machine.device()["used_bytes"] == 0
    program.kill()
    program.wait()


def test_two_copies_of_the_library_in_one_process(machine: Machine, tmp_path: Path) -> None:
    copy = tmp_path / "copy.so"
    copy.write_bytes(Path(sim.LIBRARY_DIR, "libcuda.so.1").read_bytes())
    code = f"""
import ctypes
start(); alloc(10 * MIB); spin(3*MS); sync()
second = ctypes.CDLL({str(copy)!r}); ctx = u64()
codes = [second.cuInit(0), second.cuDevicePrimaryCtxRetain(ctypes.byref(ctx), 0), second.cuCtxSetCurrent(ctx)]
codes += [second.cuMemAlloc_v2(ctypes.byref(u64()), size(20 * MIB)), alloc(MIB)[0], second.cuCtxSynchronize()]
out([codes, os.getpid()]); wait()
"""
    program = machine.start(code)
    codes, pid = line(program)
    assert codes == [0] * 6
    process = machine.process(pid)
    assert process["gpu_ns"] == 3_000_000
    assert process["used_bytes"] > 31 * MIB
    assert machine.device()["used_bytes"] == process["used_bytes"]
    program.communicate("\n")
    assert machine.device()["used_bytes"] == 0


def test_many_processes_share_one_machine(machine: Machine) -> None:
    programs = [
        machine.start("start(); function(); out(1); wait(); alloc(MIB); busy(1, 200_000, 4)")
        for _ in range(8)
    ]
    for program in programs:
        line(program)
    for program in programs:
        tell(program)
    assert [p.wait(60) for p in programs] == [0] * 8
    times = sorted(p["gpu_ns"] for p in machine.device()["processes"])
    assert times[0] > 0.5 * times[-1]
    total(machine)


@pytest.fixture(scope="session")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a C program that does everything, all the time."""
    target = tmp_path_factory.mktemp("churn") / "churn"
    source = ROOT / "tests" / "programs" / "churn.c"
    library = Path(sim.LIBRARY_DIR, "libcuda.so.1")
    options = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/shim/sim/driver", "-lpthread"]
    subprocess.run(["gcc", str(source), str(library), *options, "-o", str(target)], check=True)
    return target


def kill_and_count(machine: Machine, churn: Path, seconds: float, seed: int) -> int:
    """Kill processes in the midst of calls; returns how many."""
    chance = random.Random(seed)
    running: list[subprocess.Popen[bytes]] = []
    killed = 0
    assert machine.run("start(); out(1)") == 1  # a first victim may die before it has made the machine
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while len(running) < 4:
            running.append(
                subprocess.Popen([str(churn), str(chance.randrange(1 << 30))], env=machine.environ)
            )
        time.sleep(chance.random() * 0.03)
        victim = running.pop(chance.randrange(len(running)))
        assert victim.poll() is None, f"the program failed by itself: {victim.poll()}"
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed += 1
        total(machine)
    for program in running:
        program.kill()
        program.wait()
    return killed


LONG = pytest.param(120, marks=[pytest.mark.soak, pytest.mark.timeout(400)])


@pytest.mark.parametrize("seconds", [3, LONG])
def test_processes_killed_at_any_moment_leave_nothing_behind(
    make_machine: Callable[..., Machine], churn: Path, seconds: float
) -> None:
    machine = make_machine("l4")
    assert kill_and_count(machine, churn, seconds, seed=7) > 20
    time.sleep(0.1)
    device = machine.device()
    assert device["used_bytes"] == 0
    assert all(p["ended"] and p["used_bytes"] == 0 and p["queued"] == 0 for p in device["processes"])
    total(machine)
    assert machine.run("start(); spin(MS); sync(); out(1)") == 1
