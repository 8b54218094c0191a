"""A process that is restored from a checkpoint has its memory where it is charged."""

from __future__ import annotations

from collections.abc import Callable

from tenants import GIB, MIB, Tenant

NOT_SUPPORTED = 801

CALLS = """
class Pair(ctypes.Structure):
    _fields_ = [("old", ctypes.c_ubyte * 16), ("new", ctypes.c_ubyte * 16)]
class Arguments(ctypes.Structure):
    _fields_ = [("pairs", ctypes.POINTER(Pair)), ("count", ctypes.c_uint), ("reserved", ctypes.c_char * 44), ("r1", u64)]
def uuid(device):
    value = (ctypes.c_ubyte * 16)(); must("cuDeviceGetUuid", value, device); return value
def restore(*pairs):
    array = (Pair * len(pairs))(*[Pair(uuids[a], uuids[b]) for a, b in pairs])
    return call("cuCheckpointProcessRestore", os.getpid(), ctypes.byref(Arguments(array, len(pairs))))
start(); uuids = [uuid(0), uuid(1)]; p = new("cuMemAlloc_v2", 300 * MIB)[1]
must("cuCheckpointProcessLock", os.getpid(), None); must("cuCheckpointProcessCheckpoint", os.getpid(), None)
"""  # noqa: E501


def test_memory_does_not_come_back_on_a_gpu_where_it_is_not_charged(
    new_tenant: Callable[..., Tenant],
) -> None:
    program = (
        CALLS
        + """
moved = restore((0, 1), (1, 0))
back = 0 if not moved else restore((0, 0), (1, 1))
out([moved, back, call("cuCheckpointProcessUnlock", os.getpid(), None), call("cuMemFree_v2", p)])
"""
    )
    tenant = new_tenant(profile="l4*2", limit_bytes=(GIB, GIB // 2))
    assert tenant.run(program) == [NOT_SUPPORTED, 0, 0, 0]
    assert tenant.physical_peak(1) < 300 * MIB
    assert tenant.run(program, limited=False) == [0, 0, 0, 0]
    assert tenant.physical_peak(1) >= 300 * MIB
