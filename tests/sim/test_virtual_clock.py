"""The virtual clock: one thread of the whole simulated machine at a time, so everything repeats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simulated import PREAMBLE, ROOT

from gshare.shim import sim
from gshare.shim.sim.virtual import VirtualClock

START_NS = 1_000_000_000_000
STOPPED = 70
"""Exit status of a program that waits for what is not on the clock."""


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that compiles a program of tests/programs against the simulated driver."""
    folder = tmp_path_factory.mktemp("programs")

    def run(name: str) -> str:
        target = folder / name
        if not target.exists():
            source = str(ROOT / "tests" / "programs" / f"{name}.c")
            options = ["-std=gnu17", "-O1", f"-I{ROOT}/shim/src", "-lpthread"]
            driver = f"{sim.LIBRARY_DIR}/libcuda.so.1"
            subprocess.run(["gcc", source, driver, *options, "-o", str(target)], check=True)
        return str(target)

    return run


def environ() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))}
    folders = [str(ROOT / "tests" / name) for name in ("sim", "shim")]
    return {**clean, "PYTHONPATH": os.pathsep.join(folders)}


def start(clock: VirtualClock, code: str) -> subprocess.Popen[str]:
    """Start a program with the names of driver_calls.py and device_work.py."""
    return clock.start([sys.executable, "-c", PREAMBLE + code], environ())


def said(program: subprocess.Popen[str]) -> Any:
    """What a program that has ended put `out`; it must be silent otherwise."""
    output, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, ""), errors
    return json.loads(output)


def shares(truth: dict[str, Any]) -> list[int]:
    return [process["gpu_ns"] for process in truth["devices"][0]["processes"]]


# -------- the clocks and the waits of one program --------

SUBJECTS = {
    "clocks": ["1023 real 1023", "1023 day 1023", "1023 seconds 1", "1023 cpu 1"],
    "mutexes": [
        *["0 holds 0", "5 timed out 1", "5 busy 1", "10 holds 1", "20 holds 2"],
        *["30 locked 0", "30 deadlock 1"],
    ],
    "conditions": ["7 timed out 1", "9 timed out 1", "10 woken 0", "11 woken 1", "11 woken 2"],
    "semaphores": ["3 timed out 1", "3 none 1", "4 has it 0", "5 has it 1", "6 has it 2"],
    "rwlocks": ["0 reads 0", "0 reads 1", "0 reads 2", "5 writes 0", "5 deadlock 1"],
    "meetings": ["2 done 1", "5 last 2", "5 met 3", "5 met 0", "5 met 1"],
    "joins": ["2 timed out 1", "2 busy 1", "4 joined 4", "4 joined 3", "4 joined 2", "4 joined 1"],
    "futexes": [
        *["0 changed 1", "4 timed out 1", "6 timed out 1", "7 woke 2", "7 woken 0", "7 woken 0"],
        *["8 woke 1", "8 woken 0"],
    ],
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_wait_takes_the_time_that_it_should(
    clock: VirtualClock, build: Callable[[str], str], subject: str
) -> None:
    """To the millisecond; prices of calls are below a microsecond."""
    program = clock.start([build("turns"), subject])
    assert clock.wait() == [0]
    assert program.communicate()[0].splitlines() == SUBJECTS[subject]


def test_who_only_asks_again_and_again_does_not_stop_time(
    clock: VirtualClock, build: Callable[[str], str]
) -> None:
    program = clock.start([build("turns"), "loops"])
    assert clock.wait() == [0]
    waited = [f"{ms} waited {n}" for ms in (2, 4) for n in range(3)]
    assert sorted(program.communicate()[0].splitlines()) == sorted([*waited, "2 seen 3", "4 seen 6"])


@pytest.mark.parametrize("query", ["cuCtxSynchronize", "cuStreamQuery", "cuEventQuery"])
def test_waiting_for_the_device_takes_the_devices_time(clock: VirtualClock, query: str) -> None:
    ask = {
        "cuCtxSynchronize": "call('cuCtxSynchronize')",
        "cuStreamQuery": "call('cuStreamQuery', lane)",
        "cuEventQuery": "call('cuEventQuery', mark)",
    }[query]
    program = start(
        clock,
        "start(); function(); lane = stream(); began = time.monotonic_ns(); spin(3*MS, lane)\n"
        f"mark = record(event(), lane)\nwhile {ask}: pass\n"
        "out(time.monotonic_ns() - began)",
    )
    assert clock.wait() == [0]
    assert said(program) == pytest.approx(3_000_000, abs=20_000)


def test_an_hour_of_sleep_takes_no_time(clock: VirtualClock) -> None:
    program = start(clock, "began = time.time(); time.sleep(3600); out(time.time() - began)")
    began = time.monotonic()
    clock.wait()
    assert said(program) == pytest.approx(3600, abs=1e-3)
    assert time.monotonic() - began < 60
    assert clock.now_ns - START_NS == pytest.approx(3600e9, abs=1e6)


def test_threads_of_python_take_turns(clock: VirtualClock) -> None:
    """Its locks, queues, conditions and pools wait in time that passes only for them."""
    program = start(
        clock,
        """
from concurrent.futures import ThreadPoolExecutor
import queue
with ThreadPoolExecutor(8) as pool:
    total = sum(pool.map(lambda ms: (time.sleep(ms / 1000), ms)[1], range(100)))
pooled = time.monotonic()
items, got = queue.Queue(2), []
def give():
    for i in range(5): items.put(i); time.sleep(0.01)
thread = threading.Thread(target=give); thread.start()
for _ in range(5): got.append(items.get(timeout=1))
thread.join()
event = threading.Event()
out([total, got, event.wait(0.5), round(time.monotonic() - pooled, 3)])
""",
    )
    clock.wait()
    assert said(program) == [4950, [0, 1, 2, 3, 4], False, 0.55]


# -------- what is not on the clock --------

FOREIGN = {
    "read": ("os.read(os.pipe()[0], 1)", "read("),
    "select": ("import select; select.select([os.pipe()[0]], [], [], 1)", "select"),
    "poll": ("import select; p = select.poll(); p.register(os.pipe()[0]); p.poll()", "poll"),
    "epoll": ("import select; p = select.epoll(); p.register(os.pipe()[0]); p.poll()", "epoll_wait"),
    "accept": ("import socket; s = socket.socket(); s.listen(); s.accept()", "accept"),
    "recv": ("import socket; a, b = socket.socketpair(); a.recv(1)", "recv"),
    "signal": ("import signal; signal.sigwait({signal.SIGUSR1})", "sigtimedwait"),
    "pause": ("import signal; signal.pause()", "pause"),
    "cancel": ("ctypes.CDLL(None).pthread_cancel(ctypes.c_ulong(threading.get_ident()))", "pthread_cancel"),
    "alarm": ("import signal; signal.setitimer(signal.ITIMER_REAL, 1)", "setitimer"),
    # Seen only in the kernel: a call inside the C library, one that waits in the middle.
    "full": ("r, w = os.pipe(); os.write(w, bytes(1 << 20))", "write"),
    "stdio": ("r, w = os.pipe(); os.dup2(r, 0); ctypes.CDLL(None).getchar()", "read"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_wait_for_anything_else_is_an_error_that_names_it(clock: VirtualClock, name: str) -> None:
    code, call = FOREIGN[name]
    program = start(clock, f"import ctypes\n{code}")
    other = start(clock, "time.sleep(10); out(time.monotonic_ns())")
    assert clock.wait() == [STOPPED, 0]
    _, errors = program.communicate()
    assert errors.startswith("simgpu: virtual clock: process 1 (pid ")
    assert call in errors
    assert said(other) == pytest.approx(START_NS + 10e9, abs=1e6)


def test_a_program_may_read_what_is_there(clock: VirtualClock) -> None:
    program = start(
        clock,
        "import subprocess; r, w = os.pipe(); os.write(w, b'x'); got = os.read(r, 1).decode()\n"
        "child = subprocess.run(['true']).returncode\n"
        "out([got, child, len(open(os.__file__).read()) > 0])",
    )
    clock.wait()
    assert said(program) == ["x", 0, True]


def test_when_all_wait_for_ever_one_is_told(clock: VirtualClock) -> None:
    program = start(clock, "lock = threading.Lock(); lock.acquire(); lock.acquire()")
    other = start(clock, "time.sleep(10); out(1)")
    assert clock.wait() == [STOPPED, 0]
    assert "waits for ever" in program.communicate()[1]
    assert said(other) == 1


def test_a_machine_is_on_one_clock(clock: VirtualClock, tmp_path: Path) -> None:
    code = PREAMBLE + "out(call('cuInit', 0))"
    outside = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ(), **sim.environment(clock.machine)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(outside.stdout) == 802  # CUDA_ERROR_SYSTEM_NOT_READY
    assert "on the virtual clock, and this program is not" in outside.stderr
    with pytest.raises(sim.SimulationError, match="busy"):
        VirtualClock(str(tmp_path / "another"))


# -------- several programs --------


def test_processes_share_locks_in_turns(
    clock: VirtualClock, build: Callable[[str], str], tmp_path: Path
) -> None:
    players = [clock.start([build("turns"), name, str(tmp_path / "board")]) for name in ("ping", "pong")]
    assert clock.wait() == [0, 0]
    ping, pong = (player.communicate()[0].splitlines() for player in players)
    assert ping == ["2 turn 0", "6 turn 2", "10 turn 4", "12 over 0"]
    assert pong == ["4 turn 1", "8 turn 3", "12 turn 5", "12 over 1"]


def test_a_lock_of_the_dead_is_inherited_at_once(
    clock: VirtualClock, build: Callable[[str], str], tmp_path: Path
) -> None:
    programs = [clock.start([build("turns"), name, str(tmp_path / "will")]) for name in ("testator", "heir")]
    assert clock.wait() == [-9, 0]
    assert programs[1].communicate()[0].splitlines() == ["10 inherits 1"]


# Threads that launch, wait and allocate, each at its own pace; the second process is killed meanwhile.
MIXED = """
start(); function()
mine = int(os.environ["SIMGPU_VIRTUAL_PROCESS"])
def work(k):
    must("cuCtxSetCurrent", context); lane = stream()
    for i in range(20):
        memory = alloc((1 + (i + k) % 3) * MIB)
        for _ in range(1 + (i * k + mine) % 4): spin((100 + 37 * ((i + mine * k) % 11)) * 1000, lane)
        must("cuStreamSynchronize" if i % 2 else "cuCtxSynchronize", *([lane] if i % 2 else []))
        time.sleep(0.0003 * ((k + mine) % 3))
        free(memory)
context = new("cuCtxGetCurrent")[1]
threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
for t in threads: t.start()
if mine == 2:
    time.sleep(0.02); os.kill(os.getpid(), 9)
for t in threads: t.join()
"""


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_same_programs_twice_give_the_same_truth(
    make_clock: Callable[..., VirtualClock], count: int
) -> None:
    def once() -> dict[str, Any]:
        clock = make_clock()
        programs = [start(clock, MIXED) for _ in range(count)]
        statuses = clock.wait()
        errors = [program.communicate()[1] for program in programs]
        assert statuses == [-9 if number == 2 else 0 for number in range(1, count + 1)], errors
        return clock.truth()

    truth = once()
    assert all(gpu_ns > 0 for gpu_ns in shares(truth))
    assert once() == truth


def test_three_busy_tenants_get_equal_time_and_a_light_one_its_rate(
    make_clock: Callable[..., VirtualClock], build: Callable[[str], str]
) -> None:
    """Two minutes of the driver's own time slicing, without gshare."""
    clock = make_clock("h200")
    for _ in range(3):
        clock.start([build("share"), "kernel", "200", "200000"])
    clock.start([build("share"), "kernel", "200", "100000", "1", "20000"])  # 100 us each 20 ms, and waits
    clock.run(1)
    before = clock.truth()
    began = time.monotonic()
    clock.run(120)
    took = time.monotonic() - began
    truth = clock.truth()
    print(f"120 s in {took:.2f} s: {120 / took:.0f} times as fast")
    assert took < 60
    *busy, light = (after - first for first, after in zip(shares(before), shares(truth), strict=True))
    assert max(busy) - min(busy) < 0.001 * max(busy)
    # It waits for up to three slices of others before its kernel runs: 20 ms become at most 24.
    assert 100_000 / 24_000_000 < light / 120e9 < 100_000 / 20_100_000
    device = truth["devices"][0]
    assert device["switch_ns"] == device["switches"] * 50_000
    assert sum(shares(truth)) + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]


def test_hours_of_light_work_run_in_seconds(clock: VirtualClock, build: Callable[[str], str]) -> None:
    """Three programs that use the device ten times a second, for an hour."""
    for _ in range(3):
        clock.start([build("share"), "kernel", "3600", "5000000", "1", "95000"])
    began = time.monotonic()
    assert clock.wait() == [0, 0, 0]
    took = time.monotonic() - began
    print(f"3600 s in {took:.2f} s: {3600 / took:.0f} times as fast, {clock.turns} turns")
    assert took < 60
    kernels = [process["kernels"] for process in clock.stat()["devices"][0]["processes"]]
    assert all(30_000 < count < 36_000 for count in kernels)


@pytest.mark.parametrize("by", ["itself", "another", "the conductor"])
def test_a_killed_process_stops_nobody(
    make_clock: Callable[..., VirtualClock], build: Callable[[str], str], by: str
) -> None:
    """And at the same moment every time: what the survivors get repeats."""

    def once() -> dict[str, Any]:
        clock = make_clock("h200")
        victim = clock.start([build("share"), "kernel", "60", "200000"]) if by != "itself" else None
        survivor = clock.start([build("share"), "kernel", "2", "200000"])
        if by == "itself":
            code = "for _ in range(500): spin(MS)\ntime.sleep(0.5); os.kill(os.getpid(), 9)"
            start(clock, f"start(); function()\n{code}")
        if victim and by == "another":
            start(clock, f"time.sleep(0.5); os.kill({victim.pid}, 9)")
        clock.run(0.5)
        if victim and by == "the conductor":
            clock.kill(victim)
        assert clock.wait(survivor) == [0]
        truth = clock.truth()
        ended = [process["ended"] for process in truth["devices"][0]["processes"]]
        assert all(ended)
        return truth

    truth = once()
    device = truth["devices"][0]
    assert max(shares(truth)) == pytest.approx(1.75e9, rel=0.15)  # half of 0.5 s, and then all of it
    assert device["used_bytes"] == 0
    assert once() == truth


def test_time_stands_still_between_the_conductors_steps(
    clock: VirtualClock, build: Callable[[str], str]
) -> None:
    clock.start([build("share"), "kernel", "10", "200000"])
    clock.run(1)
    truth = clock.truth()
    time.sleep(0.2)
    assert clock.truth() == truth
    assert truth["now_ns"] == clock.now_ns == START_NS + 1_000_000_000
    assert shares(truth)[0] == pytest.approx(1e9, rel=0.001)
    seen = sim.stat(clock.machine)  # as anybody else sees it: at the programs' last call
    assert START_NS < seen["now_ns"] <= clock.now_ns
