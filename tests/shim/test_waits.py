"""Nothing that is charged waits for the GPU where the driver does not: told by the virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sharing import Device
from tenants import GIB

from gshare.shim import abi

OUT_OF_MEMORY = 2
AT_ONCE_NS = 10_000
"""On the virtual clock a call takes some hundred nanoseconds, unless it waits."""

Make = Callable[..., Device]

# Every way to take `n` bytes, and to give back what it made.
DOORS = """
import graph_calls as graphs, vmm_calls as vmm
class Desc(ctypes.Structure):
    _fields_ = [*((n, size) for n in "whd"), *((n, ctypes.c_uint) for n in "fcg")]
start()
own = new("cuStreamCreate", 1)[1]
pool = u64()
must("cuMemPoolCreate", ctypes.byref(pool), ctypes.byref(vmm.PoolProps(type=1, location=vmm.Location(1, 0))))
keep = u64(2**64 - 1)
must("cuMemPoolSetAttribute", pool, 4, ctypes.byref(keep))
kernel()
def square(n):
    return ctypes.byref(Desc(w=n // 64 // 1024, h=1024, f=0x20, c=1) if n < 1 << 30 else Desc(w=32768, h=32768, f=0x20, c=4))
def launched(n):
    executable = graphs.passing(n)
    return graphs.launch(executable, own), executable
def mapped(n):
    code, handle = vmm.create(n)
    return (code, handle and (vmm.mapped(handle, n), n, handle))
def unmapped(made):
    return call("cuMemUnmap", *made[:2]) or vmm.release(made[2])
text = lambda n: PTX + b".global .align 4 .b8 a[%d];" % n
DOORS = {
    "linear": (lambda n: alloc(n), free),
    "pitched": (lambda n: new("cuMemAllocPitch_v2", ctypes.byref(size()), 4096, n // 4096, 4), free),
    "managed": (lambda n: new("cuMemAllocManaged", n, 1), free),
    "async": (lambda n: new("cuMemAllocAsync", n, 0), lambda p: call("cuMemFreeAsync", p, 0)),
    "async, own stream": (lambda n: new("cuMemAllocAsync", n, own), lambda p: call("cuMemFreeAsync", p, own)),
    "async, freed at once": (lambda n: new("cuMemAllocAsync", n, own), free),
    "pool": (lambda n: new("cuMemAllocFromPoolAsync", n, pool, own), lambda p: call("cuMemFreeAsync", p, own)),
    "physical": (vmm.create, vmm.release),
    "mapped": (mapped, unmapped),
    "array": (lambda n: new("cuArray3DCreate_v2", square(n)), lambda a: call("cuArrayDestroy", a)),
    "mipmap": (lambda n: new("cuMipmappedArrayCreate", square(n), ctypes.c_uint(3)),
               lambda a: call("cuMipmappedArrayDestroy", a)),
    "graph": (launched, lambda e: call("cuGraphExecDestroy", e)),
    "module": (lambda n: new("cuModuleLoadData", text(n)), lambda m: call("cuModuleUnload", m)),
    "library": (lambda n: new("cuLibraryLoadData", text(n), None, None, 0, None, None, 0),
                lambda m: call("cuLibraryUnload", m)),
    "heap": (lambda n: (call("cuCtxSetLimit", 2, n + (8 << 20)), 0), lambda _: call("cuCtxSetLimit", 2, 8 << 20)),
    "pinned": (lambda n: new("cuMemHostAlloc", min(n, 16 << 20), 0), lambda p: call("cuMemFreeHost", p)),
}
def timed(do, *arguments):
    begin = time.monotonic_ns()
    result = do(*arguments)
    return result, time.monotonic_ns() - begin
"""  # noqa: E501

BEHIND_A_KERNEL = """
SMALL, LARGE = 4 << 20, 8 << 30
def over():
    if os.environ.get("GSHARE_TENANT_DIR"):
        from gshare.shim import abi
        abi.Limits(os.environ["GSHARE_TENANT_DIR"] + "/limits", writable=True).set_memory_limit(0, 1)
def busy():
    must("cuCtxSynchronize")
    assert spin(200 * MS) == 0 == spin(200 * MS, own)
told = {}
for name, (make, undo) in DOORS.items():
    busy()
    steps = [("small", *timed(make, SMALL)), ("large", *timed(make, LARGE))]
    for (step, (code, handle), ns), undone in zip(tuple(steps), ("small back", "large back")):
        busy()
        steps.append((undone, *timed(lambda: (undo(handle) if not code else 0, 0))))
    told[name] = [(step, code, ns) for step, (code, _), ns in steps]
made = {name: (make(SMALL), undo) for name, (make, undo) in DOORS.items()}
must("cuCtxSynchronize")
over()
for name, ((code, handle), undo) in made.items():
    busy()
    steps = [("small, over", *timed(DOORS[name][0], SMALL))]
    busy()
    steps.append(("back, over", *timed(lambda: (undo(handle), 0))))
    told[name] += [(step, code, ns) for step, (code, _), ns in steps]
out(told)
os._exit(0)
"""


BEHIND_THE_HOST = """
SMALL, LARGE = 4 << 20, 8 << 30
word = new("cuMemHostAlloc", 4096, 0)[1]
held = {name: make(SMALL) for name, (make, _) in DOORS.items()}
must("cuCtxSynchronize")
for stream in (own, 0):
    must("cuStreamWaitValue32_v2", stream, word, 1, 1)
codes = {name: [make(SMALL)[0], make(LARGE)[0]] for name, (make, _) in DOORS.items()}
back = {name: undo(held[name][1]) for name, (_, undo) in DOORS.items() if name in AT_ONCE}
blocked = [call("cuStreamQuery", stream) for stream in (own, 0)]
ctypes.c_uint32.from_address(word).value = 1
must("cuCtxSynchronize")
out([codes, back, blocked])
os._exit(0)
"""


def run(device: Device, tenant: int | None, code: str) -> Any:
    assert device.clock
    program = device.python(tenant, code)
    device.clock.wait(program)
    output, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    return json.loads(output)


@pytest.fixture
def device(make_virtual_device: Make) -> Device:
    """A device with a tenant that may have 1 GiB of it."""
    made = make_virtual_device(abi.NO_CAP_PPM / 10_000)
    made.limits[0].set_memory_limit(0, GIB)
    return made


def test_no_door_waits_for_a_kernel_unless_the_driver_does(device: Device) -> None:
    """Granted, refused or given back, over the quota or not: behind 200 ms of work."""
    bare, limited = (run(device, tenant, DOORS + BEHIND_A_KERNEL) for tenant in (None, 0))
    for name, steps in bare.items():
        for (step, code, ns), (_, quota_code, quota_ns) in zip(steps, limited[name], strict=True):
            where = (name, step, code, ns, quota_code, quota_ns)
            assert code == 0 or step == "large", where
            refused = quota_code == OUT_OF_MEMORY and ("large" in step or step == "small, over")
            assert refused or quota_code == code, where
            assert quota_ns < AT_ONCE_NS or (not refused and ns > AT_ONCE_NS), where
    did_not = {name: {step for step, _, ns in steps if ns < AT_ONCE_NS} for name, steps in bare.items()}
    assert all({"small", "small, over"} <= done for name, done in did_not.items())
    assert {"async", "async, own stream", "pool", "physical", "graph"} <= {
        name for name, done in did_not.items() if {"small back", "back, over"} <= done
    }
    refusals = {name for name, steps in limited.items() if steps[-2][1] == OUT_OF_MEMORY}
    assert refusals == set(limited) - {"pinned", "heap"}, (
        "every door is closed, but for a heap that is raised"
    )


def test_no_door_waits_for_what_the_host_will_signal(device: Device) -> None:
    """By the thread that allocates: who waited there would wait for ever."""
    at_once = ["async", "async, own stream", "pool", "physical", "graph"]
    codes, back, blocked = run(device, 0, DOORS + f"AT_ONCE = {at_once}" + BEHIND_THE_HOST)
    assert blocked == [600, 600], "all that time"
    assert back == dict.fromkeys(at_once, 0)
    assert codes == {name: [0, 0 if name == "pinned" else OUT_OF_MEMORY] for name in codes}
    assert len(codes) == 16
