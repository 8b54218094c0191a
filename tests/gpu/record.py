"""Write down what the driver at hand answers, as JSON, for the simulated GPU to be compared with.

`python tests/gpu/record.py OUT.json` runs bare, without gshare, against whichever libcuda.so.1 is found.  An
answer is [CUresult, value…]; where the value is an address, it is the name of the export at that address.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from gshare.benchmarks.driver import SPIN_PTX
from gshare.shim.hooks import HOOKS

VERSIONS = (2000, 3020, 4000, 10000, 11030, 12000, 13000)
SUFFIX = re.compile(r"(_v\d+)?(_ptsz|_ptds)?$")
ATTRIBUTES = range(1, 151)
MIB, PIB = 1 << 20, 1 << 50
BOGUS = c_void_p(0xDEAD000)
NON_BLOCKING, DISABLE_TIMING, CAPTURE_GLOBAL = 1, 2, 0

Answers = dict[str, Any]


class Recorder:
    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.answers: Answers = {}

    def call(self, name: str, *args: Any) -> int:
        return int(getattr(self.cuda, name)(*args))

    def note(self, label: str, name: str, *args: Any, out: Any = None) -> int:
        """Call, and write down the result with the value that came back in `out`."""
        if not hasattr(self.cuda, name):
            self.answers[label] = "absent"
            return -1
        code = self.call(name, *args)
        self.answers[label] = [code] if out is None else [code, out.value]
        return code

    def free_bytes(self) -> int:
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value


def before_init(r: Recorder) -> None:
    number, pointer = c_int(), c_uint64()
    r.note("before cuInit: cuDriverGetVersion", "cuDriverGetVersion", byref(number), out=number)
    r.note("before cuInit: cuDeviceGetCount", "cuDeviceGetCount", byref(number))
    r.note("before cuInit: cuMemAlloc", "cuMemAlloc_v2", byref(pointer), c_size_t(1))
    r.note("cuInit(1)", "cuInit", 1)
    r.note("cuInit(0)", "cuInit", 0)


def lookups(r: Recorder) -> Answers:
    """What cuGetProcAddress_v2 answers for every base name, version and stream flavour."""
    exports: dict[int, str] = {}
    names = sorted({hook.name for hook in HOOKS if hook.name.startswith("cu")})
    for name in names:
        if hasattr(r.cuda, name):
            exports.setdefault(ctypes.cast(getattr(r.cuda, name), c_void_p).value or 0, name)
    bases = sorted({SUFFIX.sub("", name) for name in names})
    ask = r.cuda.cuGetProcAddress_v2
    ask.argtypes = [c_char_p, POINTER(c_void_p), c_int, c_uint64, POINTER(c_int)]
    found: Answers = {}
    for base in [*bases, "", "cuNoSuchFunction", "cuMemAlloc_v2"]:
        for version in VERSIONS:
            for flags in (0, 1, 2):
                pointer, status = c_void_p(), c_int()
                code = ask(base.encode(), byref(pointer), version, flags, byref(status))
                where = exports.get(pointer.value, "unknown") if pointer.value else None
                found[f"{base}@{version}/{flags}"] = [code, status.value, where]
    return found


def without_context(r: Recorder) -> None:
    pointer, number = c_uint64(), c_int()
    r.note("no context: cuMemAlloc", "cuMemAlloc_v2", byref(pointer), c_size_t(1))
    r.note("no context: cuCtxSynchronize", "cuCtxSynchronize")
    r.note("no context: cuCtxGetDevice", "cuCtxGetDevice", byref(number))
    r.note("cuDeviceGet(99)", "cuDeviceGet", byref(number), 99)


def memory(r: Recorder) -> None:
    pointer, pitch = c_uint64(), c_size_t()
    r.note("cuMemAlloc(0)", "cuMemAlloc_v2", byref(pointer), c_size_t(0))
    r.note("cuMemAlloc(1 PiB)", "cuMemAlloc_v2", byref(pointer), c_size_t(PIB))
    r.note("cuMemFree(0)", "cuMemFree_v2", c_uint64(0))
    r.note("cuMemFree(bogus)", "cuMemFree_v2", c_uint64(0xDEAD000))
    for size in (1, 513, MIB, 2 * MIB, 3 * MIB, 64 * MIB):
        before = r.free_bytes()
        r.call("cuMemAlloc_v2", byref(pointer), c_size_t(size))
        r.answers[f"free memory taken by cuMemAlloc({size})"] = before - r.free_bytes()
        r.answers[f"address of cuMemAlloc({size}), modulo 512"] = pointer.value % 512
        r.call("cuMemFree_v2", pointer)
    r.note("cuMemFree twice", "cuMemFree_v2", pointer)
    for width in (1, 4, 513, 1000, 4096):
        label = f"cuMemAllocPitch({width} x 8)"
        r.note(
            label,
            "cuMemAllocPitch_v2",
            byref(pointer),
            byref(pitch),
            c_size_t(width),
            c_size_t(8),
            4,
            out=pitch,
        )
        r.call("cuMemFree_v2", pointer)


def pools(r: Recorder) -> None:
    pool, pointer, value = c_void_p(), c_uint64(), c_uint64()
    r.note("cuDeviceGetDefaultMemPool", "cuDeviceGetDefaultMemPool", byref(pool), 0)
    for attribute in range(1, 9):
        r.note(
            f"default pool attribute {attribute}",
            "cuMemPoolGetAttribute",
            pool,
            attribute,
            byref(value),
            out=value,
        )
    r.note("cuMemAllocAsync(1)", "cuMemAllocAsync", byref(pointer), c_size_t(1), None)
    r.note(
        "pool reserved after cuMemAllocAsync(1)", "cuMemPoolGetAttribute", pool, 5, byref(value), out=value
    )
    r.note("pool used after cuMemAllocAsync(1)", "cuMemPoolGetAttribute", pool, 7, byref(value), out=value)
    r.note("cuMemFree of a stream-ordered allocation", "cuMemFree_v2", pointer)
    r.call("cuCtxSynchronize")
    r.note("pool reserved after cuMemFree", "cuMemPoolGetAttribute", pool, 5, byref(value), out=value)
    r.note("cuMemAllocAsync(1 PiB)", "cuMemAllocAsync", byref(pointer), c_size_t(PIB), None)


def kernels(r: Recorder) -> None:
    module, function, duration = c_void_p(), c_void_p(), c_uint64(20_000_000)
    params = (c_void_p * 1)(ctypes.cast(byref(duration), c_void_p))
    r.note("cuModuleLoadData(garbage)", "cuModuleLoadData", byref(module), b"garbage")
    r.note("cuModuleLoadData(spin.ptx)", "cuModuleLoadData", byref(module), SPIN_PTX.read_bytes())
    r.note("cuModuleGetFunction(none)", "cuModuleGetFunction", byref(function), module, b"none")
    r.note("cuModuleGetFunction(spin)", "cuModuleGetFunction", byref(function), module, b"spin")

    def launch(label: str, blocks: int, threads: int, stream: Any = None) -> None:
        r.note(label, "cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, stream, params, None)

    launch("cuLaunchKernel, no blocks", 0, 1)
    launch("cuLaunchKernel, 2048 threads", 1, 2048)
    launch("cuLaunchKernel", 1, 1)
    stream, start, end, untimed, elapsed = c_void_p(), c_void_p(), c_void_p(), c_void_p(), c_float()
    r.call("cuStreamCreate", byref(stream), NON_BLOCKING)
    for event, flags in ((start, 0), (end, 0), (untimed, DISABLE_TIMING)):
        r.call("cuEventCreate", byref(event), flags)
    r.note("elapsed, never recorded", "cuEventElapsedTime", byref(elapsed), start, end)
    r.call("cuEventRecord", start, stream)
    launch("cuLaunchKernel on a stream", 1, 1, stream)
    r.call("cuEventRecord", end, stream)
    r.call("cuEventRecord", untimed, stream)
    r.note("cuStreamQuery, busy", "cuStreamQuery", stream)
    r.note("cuEventQuery, busy", "cuEventQuery", end)
    r.note("elapsed, not done", "cuEventElapsedTime", byref(elapsed), start, end)
    r.call("cuCtxSynchronize")
    r.note("elapsed of a 20 ms kernel, ms", "cuEventElapsedTime", byref(elapsed), start, end, out=elapsed)
    r.note("elapsed, without timing", "cuEventElapsedTime", byref(elapsed), start, untimed)
    capture(r, stream, untimed)


def capture(r: Recorder, stream: c_void_p, event: c_void_p) -> None:
    """What a call answers while a stream is being captured in global mode."""
    pointer, graph = c_uint64(), c_void_p()
    cases: dict[str, tuple[Any, ...]] = {
        "cuStreamSynchronize": ("cuStreamSynchronize", stream),
        "cuStreamQuery": ("cuStreamQuery", stream),
        "cuCtxSynchronize": ("cuCtxSynchronize",),
        "cuEventQuery": ("cuEventQuery", event),
        "cuEventSynchronize": ("cuEventSynchronize", event),
        "cuMemAlloc": ("cuMemAlloc_v2", byref(pointer), c_size_t(MIB)),
        "cuMemAllocAsync": ("cuMemAllocAsync", byref(pointer), c_size_t(MIB), stream),
        "cuEventRecord": ("cuEventRecord", event, stream),
    }
    for label, args in cases.items():
        r.call("cuStreamBeginCapture_v2", stream, CAPTURE_GLOBAL)
        r.note(f"in capture: {label}", *args)
        r.note(f"in capture: end after {label}", "cuStreamEndCapture", stream, byref(graph))
    r.note("cuStreamEndCapture without begin", "cuStreamEndCapture", stream, byref(graph))


def identity(r: Recorder) -> Answers:
    version, name = c_int(), ctypes.create_string_buffer(256)
    r.call("cuDriverGetVersion", byref(version))
    r.call("cuDeviceGetName", name, 256, 0)
    return {"driver": version.value, "device": name.value.decode()}


def record() -> Answers:
    r = Recorder()
    before_init(r)
    without_context(r)
    value, context = c_int(), c_void_p()
    for attribute in ATTRIBUTES:
        r.note(f"device attribute {attribute}", "cuDeviceGetAttribute", byref(value), attribute, 0, out=value)
    found = lookups(r)
    r.call("cuDevicePrimaryCtxRetain", byref(context), 0)
    r.call("cuCtxSetCurrent", context)
    for group in (memory, pools, kernels):
        group(r)
    return {"schema": "gshare/answers/v1", **identity(r), "lookups": found, "answers": r.answers}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(record(), indent=1) + "\n")
