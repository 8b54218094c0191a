"""What runs in a tenant: `python -m gshare.benchmarks.suite.worker CASE …` does one thing, and says so.

It judges nothing, and asks for nothing of gshare's: under every arm it is the same program.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from gshare.benchmarks.suite import lookups
from gshare.benchmarks.suite.doors import (
    DOORS,
    MIB,
    OUT_OF_MEMORY,
    PIECE,
    SUCCESS,
    Doors,
    linear,
    take_all,
)

STEP = 16 * MIB
SMALL_COPIES = 200


class Failed(Exception):
    """The driver did not agree; the message says to what."""


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def heard() -> bool:
    """Wait for a line; False at the end of input."""
    return bool(sys.stdin.readline())


def began(lookup: Callable[[], Any] = lookups.by_handle) -> Doors:
    doors = Doors(lookup())
    code = doors.begin()
    if code:
        raise Failed(f"no context: {code}")
    return doors


def fill(doors: Doors, step: int = STEP, most: int = 1 << 50) -> tuple[int, int]:
    """Take linear memory until it is refused; bytes, and the driver's code."""
    taken, code = 0, SUCCESS
    while taken < most and not (code := linear(doors, step)):
        taken += step
    return taken, code


# -------- cases --------


def calls(batches: str, live: str) -> None:
    """Nanoseconds of calls, batch by batch."""
    from gshare.benchmarks.loops import Loops

    begin = time.perf_counter_ns()
    loops, n = Loops(), int(batches)
    started_ns = time.perf_counter_ns() - begin
    free_bytes, _ = loops.device.memory_info()
    say(
        init=[started_ns],
        launch=loops.launch(n, 200, 1),
        launch_paced=loops.launch_paced(max(1, n // 4), 100, 1, 20_000, 100_000),
        round_trip=loops.round_trip(n, 10, 1000),
        alloc_free=loops.alloc_free(10, 1 << 20, n, 50),
        alloc_free_live=loops.alloc_free(int(live), 4096, n, 50),
        refused=loops.refused(0, n, 20),
        info=loops.ask("cuMemGetInfo_v2", n, 50),
        passive=loops.ask("cuCtxGetDevice", n, 200),
        free_bytes=free_bytes,
    )


def device() -> None:
    """Which device and driver this is."""
    from gshare.benchmarks.driver import Device, Driver

    driver = Driver()
    say(device=Device(driver).name, driver=driver.version)


def init(processes: str) -> None:
    """Nanoseconds of cuInit in processes that start at the same moment."""
    from gshare.benchmarks import loops

    say(ns=loops.init(int(processes)))


def control(quota: str) -> None:
    """The positive control of memory: the total, one allocation too many, and how much there is."""
    doors = began()
    total = doors.total_bytes()
    over = linear(doors, int(quota) + MIB)
    taken, code = fill(doors, STEP, 4 * int(quota))
    say(total=total, over=over, taken=taken, code=code)


def race(quota: str, processes: str) -> None:
    """As many processes take what they can at once, and hold it till all have."""
    gate_out, gate_in = os.pipe()
    children: dict[int, int] = {}
    for _ in range(int(processes)):
        out, into = os.pipe()
        child = os.fork()
        if not child:
            os.close(gate_in)
            os.read(gate_out, 1)  # its end opens the gate for all
            os.write(into, json.dumps(_take(int(quota))).encode())
            signal.pause()
        os.close(into)
        children[child] = out
    os.close(gate_in)
    taken = [json.loads(os.read(out, 4096) or b"[0, -1]") for out in children.values()]
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    say(taken=taken)


def _take(quota: int) -> tuple[int, int]:
    try:
        return fill(began(), 4 * MIB, 4 * quota)
    except Failed:
        return 0, OUT_OF_MEMORY


def door(quota: str, *names: str) -> None:
    """Each door in a process of its own, which holds what it got until somebody has looked."""
    for name in names or DOORS:
        child = os.fork()
        if not child:
            _try_door(name, 3 * int(quota) // (2 * PIECE))
            os._exit(0)
        os.waitpid(child, 0)


def _try_door(name: str, pieces: int) -> None:
    try:
        doors = began()
        taken, codes = take_all(DOORS[name], doors, pieces)
        say(name=name, pid=os.getpid(), taken=taken, code=codes[0] if codes else SUCCESS)
    except Failed as failed:
        say(name=name, pid=os.getpid(), failed=str(failed))
    heard()


def lookup(quota: str, *names: str) -> None:
    """One allocation more than there may be, by each way to find the function."""
    for name in names or lookups.LOOKUPS:
        child = os.fork()
        if not child:
            try:
                doors = began(lookups.LOOKUPS[name])
                say(name=name, code=linear(doors, int(quota) + MIB))
            except Failed as failed:
                say(name=name, failed=str(failed))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            say(name=name, failed=f"it ended with {os.waitstatus_to_exitcode(status)}")


def tricks(quota: str) -> None:
    """The same by processes that try to get away."""
    for name, environ in (
        ("a new program", dict(os.environ)),
        ("LD_PRELOAD unset", lookups.without_preload()),
    ):
        words = lookups.again(["lookup", quota, "dlsym of its handle"], environ)
        say(**{**words, "name": name})
    for name, away in (("a forked child", _stay), ("a daemon", _detach)):
        out, into = os.pipe()
        child = os.fork()
        if not child:
            away()
            try:
                words = {"code": linear(began(), int(quota) + MIB)}
            except Failed as failed:
                words = {"failed": str(failed)}
            os.write(into, json.dumps(words).encode())
            os._exit(0)
        os.close(into)
        os.waitpid(child, 0)
        said = os.read(out, 4096) or b'{"failed": "it said nothing"}'
        say(**{**json.loads(said), "name": name})


def _stay() -> None:
    pass


def _detach() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)


def copies(piece: str, pieces: str) -> None:
    """GB a second of asynchronous copies by kind, and nanoseconds of one of 4 KiB that is waited for."""
    doors, size, count = began(), int(piece), int(pieces)

    def taken(name: str, *words: int) -> int:
        code = doors.call(name, doors.first, *words)
        if code:
            raise Failed(f"{name}: {code}")
        return doors.answer

    here, there = taken("cuMemAlloc_v2", size), taken("cuMemAlloc_v2", size)
    pinned, stream = taken("cuMemHostAlloc", size, 0), taken("cuStreamCreate", 1)

    def timed(times: int, name: str, *words: int) -> float:
        """Nanoseconds of so many calls and the wait for their end, after one that does not count."""
        begin = 0
        for i in range(times + 1):
            code = doors.call(name, *words)
            if i == 0:
                code = code or doors.call("cuStreamSynchronize", stream)
                begin = time.perf_counter_ns()
            if code:
                raise Failed(f"{name}: {code}")
        doors.call("cuStreamSynchronize", stream)
        return time.perf_counter_ns() - begin

    say(
        to_device=size * count / timed(count, "cuMemcpyHtoDAsync_v2", here, pinned, size, stream),
        to_host=size * count / timed(count, "cuMemcpyDtoHAsync_v2", pinned, here, size, stream),
        on_device=size * count / timed(count, "cuMemcpyDtoDAsync_v2", there, here, size, stream),
        small=timed(SMALL_COPIES, "cuMemcpyHtoD_v2", here, pinned, 4096) / SMALL_COPIES,
    )


def hold(quota: str) -> None:
    """Take all there is, say so, and stay."""
    doors = began()
    taken, code = fill(doors, STEP, 4 * int(quota))
    say(taken=taken, code=code)
    heard()


def wait_for(bytes_: str, seconds: str) -> None:
    """Ask again and again until there is so much; every line of input begins anew."""
    most_ns = float(seconds) * 1e9
    doors = began()
    say(ready=True)
    while heard():
        begin, tries = time.perf_counter_ns(), 0
        while (code := linear(doors, int(bytes_))) and time.perf_counter_ns() - begin < most_ns:
            tries += 1
            time.sleep(0.0005)
        say(code=code, ns=time.perf_counter_ns() - begin, tries=tries)
        if not code:
            doors.call("cuMemFree_v2", doors.answer)


def model(seconds: str, *names: str) -> None:
    """Milliseconds of each model's steps, one after another; each begins when it is told to.

    One that cannot be run says why, and the next one's turn is at once.
    """
    from gshare.benchmarks.suite import models

    for name in names:
        try:
            step = models.prepared(name)
            say(ready=True)
            if heard():
                say(ms=models.times_ms(step, float(seconds)))
            del step  # its memory is the next one's
        except (RuntimeError, ImportError, AttributeError, AssertionError, ValueError) as error:
            say(error=f"{name}: {(str(error).splitlines() or [repr(error)])[0]}")


CASES: dict[str, Callable[..., None]] = {
    "calls": calls,
    "device": device,
    "init": init,
    "control": control,
    "copies": copies,
    "race": race,
    "door": door,
    "lookup": lookup,
    "model": model,
    "tricks": tricks,
    "hold": hold,
    "wait-for": wait_for,
}


def main() -> int:
    case, *arguments = sys.argv[1:]
    try:
        CASES[case](*arguments)
    except Failed as failed:
        say(error=str(failed))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
