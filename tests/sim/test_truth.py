"""What the machine says of contexts, processes and devices, and what must hold whenever nobody changes it."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import ROOT, Machine, compiled, line

from gshare.shim import sim

MS = 1_000_000
MIB = 1 << 20


def test_contexts_say_what_each_did(machine: Machine) -> None:
    code = """
start(); function(); pinned = u64(); must("cuMemAllocHost_v2", ctypes.byref(pinned), MIB)
memory = alloc(4 * MIB)[1]; first = new("cuCtxGetCurrent")[1]
spin(3*MS, 0, 10); sync()
must("cuMemcpyHtoD_v2", memory, pinned, size(MIB))
second = new("cuCtxCreate_v2", 0, 0)[1]
lane = stream(); must("cuMemcpyDtoHAsync_v2", pinned, memory, size(MIB // 2), lane)
must("cuStreamSynchronize", lane)
codes = [alloc(1 << 40)[0], alloc(1 << 40)[0]]
must("cuCtxSetCurrent", first); spin(100_000*MS)
ids = [u64(), u64()]
for ctx, id_ in zip((first, second), ids): must("cuCtxGetId", ctx, ctypes.byref(id_))
out([codes, os.getpid(), [i.value for i in ids]]); wait()
"""
    program = machine.start("import ctypes\n" + code)
    codes, pid, ids = line(program)
    device = machine.device()
    contexts = {c["id"]: c for c in device["contexts"]}
    one, two = contexts[ids[0]], contexts[ids[1]]
    assert [c["pid"] for c in contexts.values()] == [pid] * 2
    assert (one["kernels"], one["copies"], one["copy_bytes"], one["queued"]) == (1, 1, MIB, 1)
    assert (two["kernels"], two["copies"], two["copy_bytes"], two["queued"]) == (0, 1, MIB // 2, 0)
    assert one["sms_limit"] == 58
    (process,) = device["processes"]
    assert codes == [2, 2]
    assert (process["denied"], process["copies"], process["copy_bytes"]) == (2, 2, MIB + MIB // 2)
    assert process["gpu_ns"] == one["gpu_ns"] + two["gpu_ns"]
    assert process["sm_ns"] == one["sm_ns"] + two["sm_ns"] == 30 * MS + one["gpu_ns"] - 3 * MS
    assert process["memory"]["linear"] == 4 * MIB
    assert (
        sum(process["memory"].values())
        == process["used_bytes"]
        == process["peak_bytes"]
        == device["used_bytes"]
    )
    program.kill()
    program.communicate()


def test_what_a_killed_process_may_not_have_done_is_known(machine: Machine) -> None:
    """Nobody looks while it dies: its kernel ran on until somebody did, by as much as is said."""
    victim = machine.start("start(); spin(100_000*MS); out(os.getpid()); wait()")
    pid = line(victim)
    sure = machine.process(pid)["gpu_ns"]
    victim.kill()
    victim.wait()
    time.sleep(0.2)
    process = machine.process(pid)
    assert process["ended"]
    assert process["gpu_ns"] - process["unsure_ns"] >= sure
    assert process["unsure_ns"] >= 200 * MS
    later = machine.process(pid)
    assert later == process


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a driver that checks itself at every step, and a program that does everything."""
    folder = tmp_path_factory.mktemp("checked")
    sources = ROOT / "shim" / "sim"
    parts = [sources / name for name in ("core", "driver", "stream", "memory", "graph", "code")]
    options = ["-std=gnu17", "-O0", "-DSIM_CHECK", *(f"-I{part}" for part in parts)]
    objects = compiled(
        [file for part in parts for file in sorted(part.glob("*.c"))],
        [*options, "-fPIC", "-fvisibility=hidden"],
        folder,
    )
    driver = folder / "libcuda.so.1"
    link = ["-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs", "-ldl", "-lpthread"]
    subprocess.run(["gcc", *objects, *link, "-o", str(driver)], check=True)
    program = ROOT / "tests" / "programs" / "churn.c"
    subprocess.run(
        ["gcc", *options, str(program), str(driver), "-lpthread", "-o", str(folder / "churn")], check=True
    )
    return folder


LONG = pytest.param(60, marks=pytest.mark.soak)


@pytest.mark.parametrize("mps", ["0", "1"])
@pytest.mark.parametrize("seconds", [1.5, LONG])
def test_everything_holds_at_every_step_whoever_is_killed(
    make_machine: Callable[..., Machine], checked: Path, mps: str, seconds: float
) -> None:
    machine = make_machine("l4", SIMGPU_MPS=mps, SIMGPU_SAMPLE_NS="100000")
    environ = {**machine.environ, "LD_LIBRARY_PATH": str(checked), "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "40"}
    assert machine.run("start(); out(1)") == 1
    chance = random.Random(5)
    running: list[subprocess.Popen[str]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while len(running) < 3:
            command = [str(checked / "churn"), str(chance.randrange(1 << 30))]
            running.append(subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True))
        time.sleep(chance.random() * 0.1)
        victim = running.pop(chance.randrange(len(running)))
        assert victim.poll() is None, victim.communicate()[1]
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    for program in running:
        assert program.poll() is None, program.communicate()[1]
        program.kill()
        program.communicate()
    assert machine.run("start(); spin(MS); sync(); out(1)") == 1
    assert machine.device()["used_bytes"] == 0


def test_the_checks_find_what_is_wrong(machine: Machine, checked: Path) -> None:
    """A byte of somebody's memory that the device does not know of."""
    code = """
start(); alloc(7 * MIB); out(1); wait()
"""
    program = machine.start(code)
    line(program)
    wanted = machine.device()["used_bytes"].to_bytes(8, "little")
    data = bytearray(Path(machine.path).read_bytes())
    places = [i for i in range(0, 1 << 20, 8) if data[i : i + 8] == wanted]
    assert places, "the device's count is near the beginning of the file"
    with open(machine.path, "r+b") as file:
        for place in places:
            file.seek(place)
            file.write((int.from_bytes(wanted, "little") + 1).to_bytes(8, "little"))
    environ = {**machine.environ, "LD_LIBRARY_PATH": str(checked)}
    other = subprocess.run(
        [str(checked / "churn"), "1"], env=environ, stderr=subprocess.PIPE, text=True, check=False
    )
    assert other.returncode == -signal.SIGABRT
    assert other.stderr.startswith("simgpu: not so: ")
    program.kill()
    program.communicate()
    assert sim.stat(machine.path)["devices"]
