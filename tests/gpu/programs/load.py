"""Keep the GPU busy in one of the ways programs do, when told to: `load.py KIND`.

It says that it is ready, then obeys lines on standard input, each with one line of JSON as its answer:

  busy BEGIN END            as fast as it can, with two units in flight; when each unit ended
  requests BEGIN END NS N   a request of N units each NS nanoseconds; how long each took from when it was due

Times are of the monotonic clock, in nanoseconds.  A unit takes a GPU about a millisecond or a few.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import load_others

IN_FLIGHT = 2


class End(Protocol):
    """What lies behind a unit in its stream."""

    def synchronize(self) -> Any:
        """Wait for it."""


Launch = Callable[[], End]


def spin(kernel_us: str = "1000") -> Launch:
    """Kernels of known length, by the driver."""
    from gshare.benchmarks.driver import Device, Driver

    device = Device(Driver())
    kernel, stream = device.spin(), device.stream()
    events = [device.event(timing=False) for _ in range(64)]
    duration_ns = int(kernel_us) * 1000

    def launch() -> End:
        kernel.launch(stream, duration_ns)
        event = events.pop()
        events.insert(0, event)
        event.record(stream)
        return event

    return launch


def of_torch(step: Callable[[], object]) -> Launch:
    import torch

    def launch() -> End:
        step()
        event = torch.cuda.Event()
        event.record()
        return event

    return launch


def matmul() -> Launch:
    """Products of single precision, 4096 by 4096."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = (torch.randn(4096, 4096, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return of_torch(lambda: torch.mm(a, b, out=out))


def network() -> Any:
    import torch

    width = 4096
    layers = [
        layer
        for _ in range(4)
        for layer in (torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width))
    ]
    return torch.nn.Sequential(*layers).to("cuda", torch.bfloat16)


def train(compiled: bool = False) -> Launch:
    """Steps of a training loop: forwards, backwards, optimiser."""
    import torch

    model, x = network(), torch.randn(1024, 4096, device="cuda", dtype=torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    forwards = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        (forwards(x) - x).square().mean().backward()
        optimizer.step()

    return of_torch(step)


def eager() -> Launch:
    """Inference of a batch, kernel by kernel."""
    import torch

    model, x = network().eval(), torch.randn(1024, 4096, device="cuda", dtype=torch.bfloat16)

    def step() -> None:
        with torch.inference_mode():
            model(x)

    return of_torch(step)


def graph() -> Launch:
    """Decoding as servers do it: one captured graph, a few tokens at a time."""
    import torch

    model, x = network().eval(), torch.randn(16, 4096, device="cuda", dtype=torch.bfloat16)
    captured = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            model(x)
        torch.cuda.synchronize()
        with torch.cuda.graph(captured):
            for _ in range(4):
                model(x)
    return of_torch(captured.replay)


KINDS: dict[str, Callable[..., Launch]] = {
    "spin": spin,
    "matmul": matmul,
    "train": train,
    "expandable": train,  # the allocator is the environment's
    "async": train,
    "compiled": partial(train, compiled=True),
    "eager": eager,
    "graph": graph,
    "triton": load_others.triton,
    "numba": load_others.numba,
    "cupy": load_others.cupy,
    "jax": load_others.jax,
}


def wait_until(when_ns: int) -> None:
    while (left_ns := when_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)


def busy(launch: Launch, begin_ns: int, end_ns: int) -> dict[str, Any]:
    flying: deque[End] = deque()
    ends = []
    wait_until(begin_ns)
    while time.monotonic_ns() < end_ns:
        flying.append(launch())
        if len(flying) > IN_FLIGHT:
            flying.popleft().synchronize()
            ends.append(time.monotonic_ns() - begin_ns)
    while flying:
        flying.popleft().synchronize()
    return {"ends_ns": ends}


def requests(launch: Launch, begin_ns: int, end_ns: int, period_ns: int, units: int) -> dict[str, Any]:
    took = []
    for due_ns in range(begin_ns, end_ns, period_ns):
        wait_until(due_ns)
        for _ in range(units):
            last = launch()
        last.synchronize()
        took.append(time.monotonic_ns() - due_ns)
    return {"took_ns": took}


def main() -> None:
    launch = KINDS[sys.argv[1]](*sys.argv[2:])
    for _ in range(5):
        launch().synchronize()
    print(json.dumps({"event": "ready"}), flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        answer = {"busy": busy, "requests": requests}[what](launch, *map(int, numbers))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
