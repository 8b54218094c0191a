"""One loop over driver calls, in this process: `python -m gshare.benchmarks.loops launch`.

The overhead benchmark runs it bare, under `gshare run`, and under callgrind; it prints one JSON object with
the nanoseconds a call took, batch by batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from cffi import FFI

from gshare.benchmarks.driver import OUT_OF_MEMORY, POOL_RESERVED, CudaError, Device, Driver, NoDriver

LIBRARY = Path(__file__).with_name("libloops.so")
COUNTED = "loops_count_*"  # the functions that hold nothing but the calls to count

_POOL_BYTES = _COMPANY_BYTES = 1 << 20

_ffi = FFI()
_ffi.cdef(
    """
    struct loops_kernel { void *launch; void *sync; void *function; void *stream; void **params; };
    int loops_launch(const struct loops_kernel *k, uint64_t batches, uint64_t batch, double *out_ns);
    int loops_launch_paced(const struct loops_kernel *k, uint64_t batches, uint64_t batch, uint64_t ahead,
                           uint64_t period_ns, double *out_ns);
    int loops_fill(void *alloc, uint64_t bytes, uint64_t count, uint64_t *pointers);
    int loops_alloc_free(void *alloc, void *free_, uint64_t bytes, uint64_t batches, uint64_t batch,
                         double *out_ns);
    int loops_refused(void *alloc, uint64_t bytes, int refusal, uint64_t batches, uint64_t batch,
                      double *out_ns);
    int loops_query(void *query, void *pool, int attribute, uint64_t batches, uint64_t batch,
                    double *out_ns);
    int loops_round_trip(const struct loops_kernel *k, uint64_t batches, uint64_t batch, double *out_ns);
    int loops_ask(void *ask, uint64_t batches, uint64_t batch, double *out_ns);
    int loops_company(uint64_t processes, uint64_t bytes, int busy);
    int loops_init(uint64_t processes, double *out_ns);
    """
)


class Loops:
    """The C loops over the driver of this process."""

    def __init__(self) -> None:
        self.library: Any = _ffi.dlopen(str(LIBRARY))
        self.driver = Driver()
        self.device = Device(self.driver)

    def launch(self, batches: int, batch: int, kernel_ns: int) -> list[float]:
        out = _ffi.new("double[]", batches)
        self._run("loops_launch", self._kernel(kernel_ns), batches, batch, out)
        return list(out)

    def launch_many(self, launches: int) -> list[int]:
        """Resident bytes of this process when a tenth of them is done, and at the end."""
        seen = []
        for share in (1, 9):
            self.launch(share, launches // 10, 1)
            seen.append(_resident_bytes())
        return seen

    def launch_paced(
        self, batches: int, batch: int, ahead: int, kernel_ns: int, period_ns: int
    ) -> list[float]:
        out = _ffi.new("double[]", batches)
        self._run("loops_launch_paced", self._kernel(kernel_ns), batches, batch, ahead, period_ns, out)
        return list(out)

    def alloc_free(self, live: int, size_bytes: int, batches: int, batch: int) -> list[float]:
        pointers, out = _ffi.new("uint64_t[]", live), _ffi.new("double[]", batches)
        alloc, free = self._pointer("cuMemAlloc_v2"), self._pointer("cuMemFree_v2")
        self._run("loops_fill", alloc, size_bytes, live, pointers)
        self._run("loops_alloc_free", alloc, free, size_bytes, batches, batch, out)
        return list(out)

    def refused(self, pools: int, batches: int, batch: int) -> list[float]:
        """One byte too many for this process, that would fit if the others had none."""
        held = [self.device.pool(_POOL_BYTES) for _ in range(pools)]
        out = _ffi.new("double[]", batches)
        free_bytes, _ = self.device.memory_info()
        alloc = self._pointer("cuMemAlloc_v2")
        self._run("loops_refused", alloc, free_bytes + 1, OUT_OF_MEMORY, batches, batch, out)
        assert len(held) == pools
        return list(out)

    def query(self, batches: int, batch: int) -> list[float]:
        pool, out = _foreign(self.device.pool(_POOL_BYTES)), _ffi.new("double[]", batches)
        self._run(
            "loops_query", self._pointer("cuMemPoolGetAttribute"), pool, POOL_RESERVED, batches, batch, out
        )
        return list(out)

    def round_trip(self, batches: int, batch: int, kernel_ns: int) -> list[float]:
        out = _ffi.new("double[]", batches)
        self._run("loops_round_trip", self._kernel(kernel_ns), batches, batch, out)
        return list(out)

    def ask(self, name: str, batches: int, batch: int) -> list[float]:
        """A function of the driver that fills in one thing or two."""
        out = _ffi.new("double[]", batches)
        self._run("loops_ask", self._pointer(name), batches, batch, out)
        return list(out)

    def _kernel(self, kernel_ns: int) -> Any:
        spin, self._stream = self.device.spin(), self.device.stream()
        spin.set_duration(kernel_ns)
        self._spin = spin  # its parameter block must outlive the launches
        kernel: Any = _ffi.new("struct loops_kernel *")
        kernel.launch = self._pointer("cuLaunchKernel")
        kernel.sync = self._pointer("cuStreamSynchronize")
        kernel.function = _foreign(spin.function)
        kernel.stream = _foreign(self._stream.handle)
        kernel.params = _ffi.cast("void **", _foreign(spin.params))
        return kernel

    def _pointer(self, name: str) -> Any:
        return _ffi.cast("void *", self.driver.address(name))

    def _run(self, name: str, *args: Any) -> None:
        code = int(getattr(self.library, name)(*args))
        if code:
            raise CudaError(name, code, self.driver.error_name(code))


def init(processes: int) -> list[float]:
    """Nanoseconds of dlopen and cuInit in each of `processes` children that start at the same moment.

    This process must not have loaded the driver.
    """
    out = _ffi.new("double[]", processes)
    library: Any = _ffi.dlopen(str(LIBRARY))
    if library.loops_init(processes, out):
        raise OSError(f"could not start {processes} processes")
    if min(out) < 0:
        raise NoDriver("cuInit failed in a child process")
    return list(out)


def company(processes: int, busy: bool, command: list[str]) -> int:
    """Run the command while that many other processes of its tenant hold memory."""
    library: Any = _ffi.dlopen(str(LIBRARY))
    if library.loops_company(processes, _COMPANY_BYTES, busy):
        raise OSError(f"could not have {processes} processes hold memory")
    return subprocess.run(command, check=False).returncode


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _foreign(pointer: Any) -> Any:
    """A pointer of the driver's cffi types as one of ours."""
    from gshare.benchmarks.driver import ffi

    return _ffi.cast("void *", int(ffi.cast("uintptr_t", pointer)))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m gshare.benchmarks.loops", description=__doc__)
    cases = options.add_subparsers(dest="case", required=True)
    launch = cases.add_parser("launch", help="launches back to back, in batches that end with a wait")
    launch.add_argument("--batches", type=int, default=200)
    launch.add_argument("--batch", type=int, default=256)
    launch.add_argument("--kernel-us", type=float, default=1.0)
    many = cases.add_parser("launch-many", help="no times: what launches leave behind in memory")
    many.add_argument("--launches", type=int, default=10_000_000)
    paced = cases.add_parser("launch-paced", help="one launch a period, so that nothing waits")
    paced.add_argument("--batches", type=int, default=10)
    paced.add_argument("--batch", type=int, default=200)
    paced.add_argument("--ahead", type=int, default=8, help="kernels queued before the first period")
    paced.add_argument("--kernel-us", type=float, default=100.0)
    paced.add_argument("--period-us", type=float, default=100.0)
    pairs = cases.add_parser("alloc-free", help="an allocation and its release, beside live ones")
    pairs.add_argument("--live", type=int, default=10)
    pairs.add_argument("--bytes", type=int, default=4096)
    pairs.add_argument("--batches", type=int, default=100)
    pairs.add_argument("--batch", type=int, default=100)
    refused = cases.add_parser("refused", help="allocations that are over the quota")
    refused.add_argument("--pools", type=int, default=0, help="that hold memory")
    asked = cases.add_parser("query", help="how much a pool has reserved")
    for case in (refused, asked):
        case.add_argument("--batches", type=int, default=100)
        case.add_argument("--batch", type=int, default=100)
    others = cases.add_parser(
        "company", help="no loop: other processes that hold memory while a command runs"
    )
    others.add_argument("--processes", type=int, required=True)
    others.add_argument("--busy", action="store_true", help="which allocate and free without end")
    others.add_argument("command", nargs="+")
    cases.add_parser("device", help="no loop: which device and driver this is")
    storm = cases.add_parser("init", help="cuInit in many processes at the same moment")
    storm.add_argument("--processes", type=int, default=200)
    return options


def measure(options: argparse.Namespace) -> tuple[int, list[float]]:
    """How many times the counted calls ran, and the nanoseconds one took."""
    if options.case == "init":
        return options.processes, init(options.processes)
    loops, count = Loops(), options.batches * options.batch
    if options.case == "launch":
        return count, loops.launch(options.batches, options.batch, round(options.kernel_us * 1e3))
    if options.case == "launch-paced":
        kernel_ns, period_ns = round(options.kernel_us * 1e3), round(options.period_us * 1e3)
        return count, loops.launch_paced(options.batches, options.batch, options.ahead, kernel_ns, period_ns)
    if options.case == "refused":
        return count, loops.refused(options.pools, options.batches, options.batch)
    if options.case == "query":
        return count, loops.query(options.batches, options.batch)
    return count, loops.alloc_free(options.live, options.bytes, options.batches, options.batch)


def main() -> int:
    options = parser().parse_args()
    try:
        if options.case == "company":
            return company(options.processes, options.busy, options.command)
        if options.case == "device":
            driver = Driver()
            answer: dict[str, Any] = {"device": Device(driver).name, "driver": driver.version}
        elif options.case == "launch-many":
            answer = {
                "count": options.launches,
                "resident_bytes": Loops().launch_many(options.launches),
            }
        else:
            count, samples_ns = measure(options)
            answer = {"count": count, "ns": samples_ns}
    except (CudaError, NoDriver, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps({"case": options.case, **answer}))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
