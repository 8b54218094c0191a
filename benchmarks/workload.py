"""A tenant to share a GPU with: `python -m gshare.benchmarks.workload --kernel-us 200 --seconds 5`.

It takes device memory piece by piece, then keeps the GPU busy with kernels of known length, and prints one
JSON object a line about what it got.  A spin kernel counts only its own time on the GPU, so the number of
kernels times their length is the GPU time of this process even while others have their slices.  (With several
streams kernels run side by side, and the sum counts each of them.)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle

from gshare.benchmarks.driver import CudaError, Device, Driver, Event, NoDriver, Spin, Stream

MIB = 1 << 20


def report(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def take_memory(device: Device, asked_bytes: int, piece_bytes: int) -> None:
    """Allocate up to `asked_bytes` in pieces, stop at the first refusal, keep what was got."""
    got_bytes, refused = 0, None
    while got_bytes < asked_bytes and refused is None:
        piece = min(piece_bytes, asked_bytes - got_bytes)
        try:
            device.allocate(piece)
        except CudaError as error:
            refused = error.name
        else:
            got_bytes += piece
    free, total = device.memory_info()
    report(
        "memory",
        asked_bytes=asked_bytes,
        got_bytes=got_bytes,
        refused=refused,
        free_bytes=free,
        total_bytes=total,
    )


class Queue:
    """One stream, kept filled: work goes in as batches, each followed by an event that tells its end."""

    def __init__(self, device: Device, depth: int, launch: Callable[[Stream], None]) -> None:
        self.stream = device.stream()
        self.launch = launch
        self._idle = [device.event(timing=False) for _ in range(depth)]
        self._pending: deque[Event] = deque()
        self.batches_done = 0

    def put(self) -> None:
        """Launch one more batch; with `depth` of them on their way, wait for the oldest first."""
        if not self._idle:
            self._wait_for_oldest()
        self.launch(self.stream)
        event = self._idle.pop()
        event.record(self.stream)
        self._pending.append(event)

    def drain(self) -> None:
        while self._pending:
            self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        event = self._pending.popleft()
        event.synchronize()
        self._idle.append(event)
        self.batches_done += 1


def keep_busy(device: Device, options: argparse.Namespace) -> None:
    """Launch for `--seconds`, report now and then, and at the end say what was done in which time."""
    kernel_ns = round(options.kernel_us * 1000)
    in_flight_ns = options.in_flight_ms * 1e6
    batch = options.graph or max(1, round(min(1e6, in_flight_ns / 4) / kernel_ns))
    depth = max(2, round(in_flight_ns / (batch * kernel_ns)))
    launch = _launcher(device, kernel_ns, batch, graph=bool(options.graph))
    queues = [Queue(device, depth, launch) for _ in range(options.streams)]

    report("ready", kernel_ns=kernel_ns, batch=batch, device=device.name, uuid=device.uuid)
    if options.wait and not sys.stdin.readline():
        return
    start_ns = time.monotonic_ns()
    end_ns = start_ns + round(options.seconds * 1e9)
    next_report_ns = start_ns

    def progress(event: str) -> None:
        kernels = batch * sum(queue.batches_done for queue in queues)
        elapsed_ns = time.monotonic_ns() - start_ns
        report(
            event,
            kernels=kernels,
            gpu_ns=kernels * kernel_ns,
            elapsed_ns=elapsed_ns,
            share=round(kernels * kernel_ns / elapsed_ns, 4),
        )

    for launched, queue in enumerate(_until(end_ns, queues), start=1):
        queue.put()
        if options.sync_every and launched % options.sync_every == 0:
            queue.drain()
        if options.gap_us:
            time.sleep(options.gap_us / 1e6)
        if time.monotonic_ns() >= next_report_ns + options.report_ms * 1e6:
            progress("progress")
            next_report_ns = time.monotonic_ns()
    for queue in queues:
        queue.drain()
    progress("done")


def _until(end_ns: int, queues: list[Queue]) -> Iterator[Queue]:
    """The queues in turn, till the clock says `end_ns`."""
    for queue in cycle(queues):
        if time.monotonic_ns() >= end_ns:
            return
        yield queue


def _launcher(device: Device, kernel_ns: int, batch: int, *, graph: bool) -> Callable[[Stream], None]:
    """What puts one batch of kernels on a stream: launch by launch, or as one graph."""
    spin: Spin = device.spin()

    def one_by_one(stream: Stream) -> None:
        for _ in range(batch):
            spin.launch(stream, kernel_ns)

    if not graph:
        return one_by_one
    with device.stream().capture() as captured:
        one_by_one(captured.stream)
    return captured.launch


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m gshare.benchmarks.workload", description=__doc__)
    number = options.add_argument
    number("--device", type=int, default=0, metavar="N", help="CUDA ordinal (default 0)")
    number(
        "--alloc-mib", type=int, default=0, metavar="MIB", help="device memory to take first (default none)"
    )
    number("--piece-mib", type=int, default=64, metavar="MIB", help="size of one allocation (default 64)")
    number(
        "--kernel-us", type=float, default=200.0, metavar="US", help="GPU time of one kernel (default 200)"
    )
    number(
        "--seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="how long to launch; 0: not at all (default 5)",
    )
    number("--streams", type=int, default=1, metavar="N", help="streams, filled in turn (default 1)")
    number("--in-flight-ms", type=float, default=20.0, metavar="MS", help="work queued a stream (default 20)")
    number(
        "--gap-us", type=float, default=0.0, metavar="US", help="pause of the host after a batch (default 0)"
    )
    number(
        "--sync-every",
        type=int,
        default=0,
        metavar="N",
        help="drain the stream after N batches (default never)",
    )
    number("--graph", type=int, default=0, metavar="N", help="launch graphs of N kernels each (default none)")
    number(
        "--report-ms", type=float, default=200.0, metavar="MS", help="time between two lines (default 200)"
    )
    options.add_argument("--wait", action="store_true", help="once ready, wait for a line on standard input")
    options.add_argument("--stay", action="store_true", help="when done, hold the memory till input ends")
    return options


def main() -> int:
    options = parser().parse_args()
    try:
        device = Device(Driver(), options.device)
        if options.alloc_mib:
            take_memory(device, options.alloc_mib * MIB, options.piece_mib * MIB)
        if options.seconds > 0:
            keep_busy(device, options)
        if options.stay:
            sys.stdin.read()
    except NoDriver as error:
        report("error", call="dlopen", name=str(error))
        return 1
    except CudaError as error:
        report("error", call=error.call, name=error.name)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
