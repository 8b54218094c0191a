"""What no document says of a GPU's scheduling and a driver's costs, and gshare must know: measured, as rows.

usage: open_points.py --output FILE --recorder PROGRAM --timings FILE

FILE of `--timings` is what the recorder of tests/golden measured bare; its calls are measured here once more
as a tenant's, without and with a limit.  A row's value is the median of its samples; spans are over their
true length.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from place import REHEARSAL, Place, end

from gshare.benchmarks.driver import CudaError, Device, Driver, Event, Stream, ffi
from gshare.benchmarks.results import Row

US, MS, MIB, GIB = 1_000, 1_000_000, 1 << 20, 1 << 30
KERNELS_NS = (50 * US, MS, 5 * MS, 20 * MS)
SPANS = 40
HOOKED_S = 30
CALLS = ("cuLaunchKernel", "cuEventRecord", "cuEventQuery", "cuEventElapsedTime", "cuStreamWriteValue32")
CHECKPOINTS = (64 * MIB, 256 * MIB) if REHEARSAL else (256 * MIB, GIB, 4 * GIB, 16 * GIB)
STEPS = ("Lock", "Checkpoint", "Restore", "Unlock")
WORKLOAD = (sys.executable, "-m", "gshare.benchmarks.workload")
MODES = {"global": 0, "thread local": 1, "relaxed": 2}
UNDER_MPS = "not measured under MPS: its daemon would be everybody's on this machine"

ffi.cdef(
    """
    CUresult cuMemAllocHost_v2(void **host, size_t bytes);
    CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr to, uint32_t value, unsigned int flags);
    CUresult cuCheckpointProcessLock(int pid, void *args);
    CUresult cuCheckpointProcessCheckpoint(int pid, void *args);
    CUresult cuCheckpointProcessRestore(int pid, void *args);
    CUresult cuCheckpointProcessUnlock(int pid, void *args);
    """
)

FAULTS = (
    *(CudaError, AttributeError, RuntimeError, OSError, ValueError, LookupError, ArithmeticError),
    subprocess.SubprocessError,
)
Samples = dict[str, list[float]]


def row(name: str, what: str, samples: Sequence[float], unit: str, note: str = "", **details: Any) -> Row:
    if not samples:
        return Row(name, what, None, unit, note=note or "nothing was sampled")
    ordered = sorted(samples)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    facts = {"count": len(ordered), "p99": p99, "least": ordered[0], "most": ordered[-1], **details}
    return Row(name, what, round(statistics.median(ordered), 4), unit, note=note, details=facts)


def facts_of(path: Path) -> Samples:
    """The recorder's facts by name; those that a call refused are left out."""
    facts = json.loads(path.read_text())["facts"]
    return {fact["name"]: fact["samples"] for fact in facts if fact["code"] == 0}


def slices(facts: Samples) -> Iterator[Row]:
    """When a start event is stamped, how long a slice is, and what a switch costs."""
    name = "event, kernel of 100 us, event"
    alone, beside = facts.get(f"{name}, alone", []), facts.get(f"{name}, beside one", [])
    spans = [span / statistics.median(alone) for span in beside] if alone else []
    waits = bool(spans) and statistics.median(spans) < 1.5
    words = "it waits for its context's turn" if waits else "it is stamped before its context's turn"
    what = "event, kernel of 100 us, event on an idle stream beside a saturating process / alone"
    yield row("start_stamp", what, spans, "", f"a start event: {words}" if spans else "")
    length = facts.get("slice, beside one", [])
    yield row("slice", "time slice, two processes", length, "ns")
    for others in 1, 2:
        count = "one" if others == 1 else "two"
        gaps = facts.get(f"gap between slices, beside {count}", [])
        switches = (
            [(gap - others * statistics.median(length)) / (others + 1) for gap in gaps] if length else []
        )
        yield row(f"switch_{others + 1}", f"switch between contexts, {others + 1} processes", switches, "ns")
        seen = facts.get(f"seen on the device: gap, beside {count}", [])
        why = "" if seen else "no instructions run here"
        yield row(f"gap_{others + 1}", f"gap seen on the device, {others + 1} processes", seen, "ns", why)


def calls(facts: Samples, way: str) -> Iterator[Row]:
    for call in CALLS:
        yield row(f"{call}_{way}", f"{call}, {way}", facts.get(call, []), "ns")


def hooked_calls(place: Place, recorder: Path, way: str, limits: Sequence[str]) -> Iterator[Row]:
    out = place.sandbox.directory / f"{way}.json"
    command = [str(recorder), "--timings", "--group", "calls", str(out)]
    process = place.start(limits, command)
    try:
        _, errors = process.communicate(timeout=HOOKED_S)
    except subprocess.TimeoutExpired:
        end(process)
        raise
    if process.returncode:
        raise RuntimeError((errors.strip().splitlines() or ["the recorder failed"])[-1])
    yield from calls(facts_of(out), way)


def contexts(facts: Samples) -> Iterator[Row]:
    for part in "context", "module", "first launch", "stream":
        name = part.replace(" ", "_")
        yield row(f"memory_{name}", f"device memory of a {part}", facts.get(f"memory of a {part}", []), "B")
        yield row(f"time_{name}", f"time of a {part}", facts.get(f"time of a {part}", []), "ns")


@contextmanager
def neighbour(place: Place, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process without gshare that is at work; gone at the end."""
    process = place.start(None, [*WORKLOAD, *options])
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(end(process)[1].strip()[-200:])
        yield process
    finally:
        end(process)


def spans_of(device: Device) -> Iterator[tuple[int, str, list[float]]]:
    """What timing events say of kernels over their known length; singly and in a full queue."""
    spin, stream = device.spin(), device.stream()
    events = [device.event() for _ in range(SPANS + 1)]
    for kernel_ns in KERNELS_NS:
        single: list[float] = []
        for _ in range(min(SPANS, 400 * MS // kernel_ns)):
            events[0].record(stream)
            spin.launch(stream, kernel_ns)
            events[1].record(stream)
            stream.synchronize()
            single.append(events[1].elapsed_ns_since(events[0]) / kernel_ns)
        yield kernel_ns, "single", single
        yield (
            kernel_ns,
            "queued",
            queued(stream, events, lambda ns=kernel_ns: spin.launch(stream, ns), kernel_ns),
        )  # type: ignore[misc]


def queued(stream: Stream, events: list[Event], launch: Callable[[], None], kernel_ns: int) -> list[float]:
    count = min(SPANS, 400 * MS // kernel_ns)
    events[0].record(stream)
    for event in events[1 : count + 1]:
        launch()
        event.record(stream)
    stream.synchronize()
    return [events[i + 1].elapsed_ns_since(events[i]) / kernel_ns for i in range(count)]


def contention(place: Place, device: Device) -> Iterator[Row]:
    """Event timing while somebody else wants the GPU."""
    for company in "alone", "beside":
        found = []
        if company == "alone":
            found = list(spans_of(device))
        else:
            with neighbour(place, "--kernel-us=2000", "--seconds=60"):
                time.sleep(0.2)
                found = list(spans_of(device))
        for kernel_ns, how, spans in found:
            name = f"span_{kernel_ns // US}us_{how}_{company}"
            what = f"span by events / length of kernels of {kernel_ns / MS:g} ms, {how}, {company}"
            yield row(name, what, spans, "", mean=statistics.mean(spans))
    yield Row("span_mps", "the same under MPS", None, "", note=UNDER_MPS)


def checkpoint(place: Place, driver: Driver, size: int) -> Iterator[Row]:
    """How long a process with that much memory takes to leave the GPU and come back."""
    with neighbour(place, f"--alloc-mib={size // MIB}", "--seconds=0", "--stay") as process:
        args = ffi.new("char[256]")
        took: dict[str, float] = {}
        for step in STEPS:
            begin_ns = time.monotonic_ns()
            driver.call(f"cuCheckpointProcess{step}", process.pid, args)
            took[step] = time.monotonic_ns() - begin_ns
        for step in "Checkpoint", "Restore":
            name = f"{step.lower()}_{size // MIB}MiB"
            rate = size / took[step]
            yield row(name, f"{step.lower()} of {size // MIB} MiB", [rate], "B/ns", steps_ns=took)


def code_of(driver: Driver, name: str, *args: Any) -> int:
    return int(getattr(driver.library, name)(*args))


def beside_capture(driver: Driver, device: Device) -> Iterator[Row]:
    """Whether a value may be written into pinned memory while a stream is captured."""
    capturing, other = device.stream(), device.stream()
    host = ffi.new("void **")
    driver.call("cuMemAllocHost_v2", host, 4096)
    words = ffi.cast("uint32_t *", host[0])
    address = int(ffi.cast("uintptr_t", host[0]))
    graph = ffi.new("CUgraph *")

    def write(stream: Stream, index: int) -> int:
        return code_of(driver, "cuStreamWriteValue32_v2", stream.handle, address + 4 * index, 1, 0)

    def elsewhere(codes: list[int]) -> None:
        driver.call("cuCtxSetCurrent", device.context)
        codes.append(write(other, 1))

    def capture(number: int, work: Callable[[], list[int]]) -> list[int]:
        """What the calls within a capture answer, and its end."""
        driver.call("cuStreamBeginCapture_v2", capturing.handle, number)
        return [*work(), code_of(driver, "cuStreamEndCapture", capturing.handle, graph)]

    def both() -> list[int]:
        codes = [write(other, 0)]
        thread = Thread(target=elsewhere, args=(codes,))
        thread.start()
        thread.join()
        return codes

    for mode, number in MODES.items():
        words[0] = words[1] = 0
        codes = capture(number, both)
        other.synchronize()
        permitted = not any(codes) and words[0] == words[1] == 1
        into = capture(number, lambda: [write(capturing, 2)])
        name = f"write_value_{mode.replace(' ', '_')}"
        what = f"values written to pinned memory beside a capture, {mode}: by its thread and by another"
        note = ", ".join(driver.error_name(code) for code in codes)
        inside = [driver.error_name(code) for code in into]
        yield row(name, what, [float(permitted)], "permitted", f"{note} at its end", inside=inside)
    yield Row("write_value_mps", "the same under MPS", None, "", note=UNDER_MPS)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--recorder", type=lambda path: Path(path).resolve(), required=True)
    options.add_argument("--timings", type=Path, required=True)
    chosen = options.parse_args()
    rows: list[Row] = []
    with Place() as place:
        device = Device(driver := Driver(place.driver()))
        recorded: Samples = {}
        with suppress(OSError, ValueError):  # cut off, or not there
            recorded = facts_of(chosen.timings)
        tasks: dict[str, Callable[[], Iterator[Row]]] = {
            "slices": partial(slices, recorded),
            "calls, bare": partial(calls, recorded, "bare"),
            "calls, unlimited": partial(hooked_calls, place, chosen.recorder, "unlimited", []),
            "calls, limited": partial(hooked_calls, place, chosen.recorder, "limited", ["--compute=90%"]),
            "contexts": partial(contexts, recorded),
            "values": partial(beside_capture, driver, device),
            "contention": partial(contention, place, device),
        } | {
            f"checkpoint of {size // MIB} MiB": partial(checkpoint, place, driver, size)
            for size in CHECKPOINTS
        }
        for name, work in tasks.items():
            print(name, file=sys.stderr, flush=True)
            try:
                rows += work()
            except FAULTS as error:
                traceback.print_exc()
                rows.append(Row(name, name, None, "", note=str(error)))
            place.write("open-points", rows, chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
