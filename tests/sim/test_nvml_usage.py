"""What NVML measures: samples of 1/6 s, taken in the background, the same for whoever asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from simulated import PREAMBLE, ROOT, Machine, line, tell

from gshare.shim.sim.virtual import VirtualClock

pytest.importorskip("pynvml")

NOT_FOUND = 6
PERIODS = """
start(); function()
def periods(count, first_ms, spin_us, period_us=2000):
    begin = time.monotonic_ns() + first_ms * MS
    for i in range(count):
        time.sleep(max(0, begin + i * period_us * 1000 - time.monotonic_ns()) / 1e9)
        spin(spin_us * 1000)
    sync()
"""


def environ() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))}
    folders = [str(ROOT / "tests" / name) for name in ("sim", "shim")]
    return {**clean, "PYTHONPATH": os.pathsep.join(folders)}


def work(clock: VirtualClock, code: str) -> subprocess.Popen[str]:
    """Start a program that uses the device; `periods` spins again and again, from time to time."""
    return clock.python(PREAMBLE + PERIODS + code, environ())


def watch(clock: VirtualClock, code: str) -> subprocess.Popen[str]:
    """Start a program that asks NVML: the names of nvml_calls.py."""
    return clock.python("import os, sys, time\nfrom nvml_calls import *\n" + code, environ())


def said(program: subprocess.Popen[str]) -> Any:
    output, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, ""), errors
    return json.loads(output)


@pytest.fixture
def free_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMGPU_SWITCH_NS", "0")


def test_every_sample_shows_the_shares_of_its_time(
    free_switches: None, make_clock: Callable[..., VirtualClock]
) -> None:
    clock = make_clock()
    low, high = work(clock, "periods(2000, 0, 600)"), work(clock, "periods(2000, 0, 1400)")
    watcher = watch(
        clock,
        "time.sleep(1); seen = now_us(); found = []\n"
        "for _ in range(15):\n"
        "    time.sleep(1 / 6); mine = shares(seen); seen = mine[0][2]\n"
        "    found.append([mine, busy()])\n"
        "out([found, samples()])",
    )
    assert clock.wait() == [0, 0, 0]
    found, samples = said(watcher)
    for mine, busy in found:
        percent = {pid: sm for pid, sm, _ in mine}
        assert percent[low.pid] == pytest.approx(30, abs=2)
        assert percent[high.pid] == pytest.approx(70, abs=2)
        assert busy == pytest.approx(100, abs=2)
    times = [mine[0][2] for mine, _ in found]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([166_667] * 14, abs=1)
    known = {time: value for value, time in samples}
    assert [known[mine[0][2]] for mine, _ in found] == [busy for _, busy in found]
    assert len(samples) == 21, "3.5 s"


def test_who_asks_once_sees_what_who_always_asked_sees(make_clock: Callable[..., VirtualClock]) -> None:
    clock = make_clock()
    worker = work(clock, "periods(600, 0, 1000)")
    ask = "out([busy(), shares(now_us() - 1_000_000), samples()])"
    old = watch(clock, f"for _ in range(109): time.sleep(0.01); busy()\ntime.sleep(0.01)\n{ask}")
    clock.run(1.099)
    fresh = watch(clock, f"time.sleep(0.001)\n{ask}")
    clock.wait()
    busy, shares, samples = said(fresh)
    assert [busy, shares, samples] == said(old)
    assert busy == pytest.approx(50, abs=1)
    assert shares == [[worker.pid, pytest.approx(50, abs=1), samples[-1][1]]]
    assert samples[-1][1] == (1_700_000_000 + 1_000 + 1) * 1_000_000


def test_idle_is_seen_when_a_sample_of_it_is_complete(make_clock: Callable[..., VirtualClock]) -> None:
    clock = make_clock()
    worker = work(clock, "spin(1_050 * MS); sync()")
    watcher = watch(
        clock,
        "found = []\n"
        "for _ in range(160): found.append([busy(), shares(now_us() - 200_000)]); time.sleep(0.01)\n"
        "out([found, shares(), samples()[-1]])",
    )
    clock.wait()
    found, ended, last = said(watcher)
    first_busy = next(i for i, (busy, _) in enumerate(found) if busy)
    first_idle = next(i for i, (busy, _) in enumerate(found) if i > first_busy and not busy)
    assert found[first_busy][0] == pytest.approx(100, abs=1)
    assert 0.16 <= first_busy * 0.01 <= 0.18
    assert 1.33 <= first_idle * 0.01 <= 1.35, "1/6 s after the sample in which the work ended"
    assert found[-1] == [0, []]
    ((pid, percent, time),) = ended
    assert pid == worker.pid, "it has ended and is still in the samples"
    assert percent == pytest.approx(100 * 1.05 / 1.5, abs=1)
    assert last[1] - time == pytest.approx(2 * 166_667, abs=2), "the last sample in which it had the device"


def test_samples_of_a_time_when_nobody_looked(make_clock: Callable[..., VirtualClock]) -> None:
    """An hour, of which the last ten seconds have half the load."""
    clock = make_clock()
    worker = work(clock, "time.sleep(3590); [spin(2 * MS) or time.sleep(0.004) for _ in range(2500)]; sync()")
    clock.wait()
    watcher = watch(clock, "out([samples(), shares()])")
    clock.run(0.01)
    clock.wait()
    samples, ((pid, percent, _),) = said(watcher)
    values = [value for value, _ in samples]
    assert len(samples) == 99
    assert [b - a for (_, a), (_, b) in pairwise(samples)] == pytest.approx([166_667] * 98, abs=1)
    assert values[:38] == [0] * 38
    assert values[-58:] == pytest.approx([50] * 58, abs=2)
    assert (pid, percent) == (worker.pid, pytest.approx(100 * 5 / 16.5, abs=1))


def test_one_long_kernel_is_in_all_samples(make_clock: Callable[..., VirtualClock]) -> None:
    clock = make_clock()
    worker = work(clock, "spin(60_000 * MS); time.sleep(30); out(0)")
    watcher = watch(clock, "time.sleep(29); out([samples(), shares(), busy()])")
    clock.run(29.5)
    assert json.loads(watcher.communicate(timeout=30)[0]) == [
        [[100, pytest.approx(0, abs=2**62)]] * 99,
        [[worker.pid, 100, pytest.approx(0, abs=2**62)]],
        100,
    ]


def test_the_calls_say_the_same_in_their_forms(make_clock: Callable[..., VirtualClock]) -> None:
    clock = make_clock()
    worker = work(clock, "spin(490 * MS); sync(); time.sleep(1)")
    watcher = watch(
        clock,
        "import ctypes\ntime.sleep(0.9); mine = shares(); last = mine[0][2]\n"
        "info = [[s.pid, s.smUtil, s.timeStamp] for s in n.nvmlDeviceGetProcessesUtilizationInfo(d, 0)]\n"
        "count = ctypes.c_uint(0); buffer = (ctypes.c_char * 40)()\n"
        "ask = n.nvmlLib.nvmlDeviceGetProcessUtilization; since = ctypes.c_ulonglong(0)\n"
        "codes = [ask(d, None, ctypes.byref(count), since), count.value]\n"
        "count.value = 0; codes += [ask(d, buffer, ctypes.byref(count), since), count.value]\n"
        "codes += [ask(d, buffer, None, since), refused(n.nvmlDeviceGetSamples, d, 99, 0)]\n"
        "out([mine == info, codes, refused(n.nvmlDeviceGetProcessUtilization, d, last),"
        " refused(n.nvmlDeviceGetProcessesUtilizationInfo, d, last),"
        " refused(n.nvmlDeviceGetSamples, d, 1, now_us()),"
        " [samples(kind=k)[-1][0] for k in (0, 2, 3, 5)], len(samples(last)), mine])",
    )
    clock.wait()
    same, codes, none, none_info, none_new, others, newer, mine = said(watcher)
    assert same
    assert codes == [7, 100, 7, 1, 2, 2], "room for 100 is asked for, then what there is"
    assert [none, none_info, none_new] == [NOT_FOUND] * 3
    assert others == [16000, 0, 0, 2040]
    assert newer == 2, "the device's samples go on"
    assert mine == [[worker.pid, 59, mine[0][2]]]


def test_a_killed_sampler_breaks_nothing(make_machine: Callable[..., Machine]) -> None:
    """Samples of 0.1 ms: who uses the machine all the time takes one all the time."""
    machine = make_machine(SIMGPU_SAMPLE_NS="100000")
    stays = machine.start(
        "start(); function(); [spin(MS) for _ in range(900)]; out(0); wait(); sync(); out(0)"
    )
    line(stays)
    for _ in range(8):
        dies = machine.start(
            "start(); function(); out(0)\nwhile True: spin(20_000); call('cuStreamQuery', 0)"
        )
        line(dies)
        dies.kill()
        dies.wait(30)
    tell(stays)
    line(stays)
    device = machine.device()
    used = sum(process["gpu_ns"] for process in device["processes"])
    assert used + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]
    done = subprocess.run(
        [sys.executable, "-c", "from nvml_calls import *; out([samples(), shares()])"],
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    samples, shares = json.loads(done.stdout)
    assert len(samples) == 99
    assert all(0 <= percent <= 100 for percent, _ in samples)
    assert sum(percent for _, percent, _ in shares) <= 101
    stays.kill()
    stays.wait(30)
