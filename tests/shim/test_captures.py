"""A program that captures sees no difference, in any mode, whatever keeps its other launches waiting."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from share_core import MS, US
from sharing import Device

Make = Callable[..., Device]

# Codes and graphs of captures between launches that gates may hold, and how long each capture took.
PROGRAM = """
start()
stream = new("cuStreamCreate", 1)[1]
def new_last(name, *args):
    handle = u64()
    return call(name, *args, ctypes.byref(handle)), handle.value
codes, longest = [], 0
for mode in (0, 1, 2) * 5:
    for _ in range(20):
        codes.append(spin(MS // 5, stream))
    begun = time.monotonic_ns()
    codes.append(call("cuStreamBeginCapture_v2", stream, mode))
    codes += [spin(MS, stream) for _ in range(50)]
    status = u64()
    codes += [call("cuStreamIsCapturing", stream, ctypes.byref(status)), status.value]
    code, graph = new_last("cuStreamEndCapture", stream)
    longest = max(longest, time.monotonic_ns() - begun)
    nodes = u64()
    codes += [code, call("cuGraphGetNodes", graph, None, ctypes.byref(nodes)), nodes.value]
    code, each = new("cuGraphInstantiateWithFlags", graph, 0)
    codes += [code, call("cuGraphDestroy", graph), call("cuGraphExecDestroy", each)]
codes.append(sync())
out([codes, longest])
"""
QUICK_NS = 100 * US
"""On the virtual clock, where a call takes less than a microsecond, unless it waits."""


def run(device: Device, tenant: int | None) -> tuple[list[int], int]:
    assert device.clock is not None
    program = device.python(tenant, PROGRAM)
    device.clock.wait(program)
    output, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    codes, longest_ns = json.loads(output)
    return codes, longest_ns


def capped(device: Device) -> None:
    """Nothing beyond the caps that it is made with."""


def leased(device: Device) -> None:
    now_ns = device.now_ns()
    for limits in device.limits:
        limits.set_cap(0, 1_000_000, now_ns, spent_ns=0, rate_ppm=200_000)


def yielding(device: Device) -> None:
    device.limits[0].set_above([1])
    device.limits[1].set_below(True)


def high(device: Device) -> None:
    device.limits[1].set_above([0])
    device.limits[0].set_below(True)


def turning(device: Device) -> None:
    for limits in device.limits:
        limits.set_turns(0, 20 * MS, [(0, 0), (10 * MS, 1)])


GATES = [capped, leased, yielding, high, turning]


@pytest.mark.parametrize("gate", GATES)
def test_under_every_gate(make_virtual_device: Make, gate: Callable[[Device], None]) -> None:
    """Beside somebody who has work half of the time, so that who yields goes on, too."""
    device = make_virtual_device(20, 50)
    bare, bare_ns = run(device, None)
    gate(device)
    device.start(1, "kernel", 200 * US, 20, 4000)
    codes, longest_ns = run(device, 0)
    assert codes == bare
    assert set(codes) == {0, 1, 50}
    assert bare_ns < QUICK_NS
    assert longest_ns < QUICK_NS


def test_a_pause_does_not_hold_what_is_recorded(make_virtual_device: Make) -> None:
    """Paused as soon as it begins to capture, for half a second."""
    device = make_virtual_device(20)
    code = """
start()
stream = new("cuStreamCreate", 1)[1]
spin(MS // 5, stream)
sync()
from gshare.shim import abi
limits = abi.Limits(os.environ["GSHARE_TENANT_DIR"] + "/limits", writable=True)
def new_last(name, *args):
    handle = u64()
    return call(name, *args, ctypes.byref(handle)), handle.value
must("cuStreamBeginCapture_v2", stream, 2)
limits.set_paused(True)
begun = time.monotonic_ns()
codes = [spin(MS, stream) for _ in range(50)]
codes.append(new_last("cuStreamEndCapture", stream)[0])
captured_ns = time.monotonic_ns() - begun
def resume():
    time.sleep(0.5)
    limits.set_paused(False)
threading.Thread(target=resume).start()
codes.append(spin(MS // 5, stream))
out([codes, captured_ns, time.monotonic_ns() - begun])
"""
    assert device.clock is not None
    program = device.python(0, code)
    device.clock.wait(program)
    output, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    codes, captured_ns, launched_ns = json.loads(output)
    assert set(codes) == {0}
    assert captured_ns < QUICK_NS
    assert 500 * MS <= launched_ns < 550 * MS  # the control: a launch that is none waits
