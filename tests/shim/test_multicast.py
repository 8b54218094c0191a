"""Multicast objects: memory that is bound to one is charged for as long as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tenants import GIB, MIB, Tenant

MULTICAST = """
from vmm_calls import *
class Object(ctypes.Structure):
    _fields_ = [("devices", UINT), ("size", size), ("handles", u64), ("flags", u64)]
begin(); n = 64 * MIB
c, mc = new("cuMulticastCreate", ctypes.byref(Object(1, 8 * n, 0, 0)))
must("cuMulticastAddDevice", mc, 0); free_of_charge = both()
c, h = create(n, handles=0); a = mapped(h, n)
binds = {
    "cuMulticastBindMem": lambda at, m=h: call("cuMulticastBindMem", mc, at, m, 0, n, 0),
    "cuMulticastBindMem_v2": lambda at, m=h: call("cuMulticastBindMem_v2", mc, 0, at, m, 0, n, 0),
    "cuMulticastBindAddr": lambda at, p=a: call("cuMulticastBindAddr", mc, at, p, n, 0),
    "cuMulticastBindAddr_v2": lambda at, p=a: call("cuMulticastBindAddr_v2", mc, 0, at, p, n, 0),
}
def unbind(at, bytes_=n): return call("cuMulticastUnbind", mc, 0, at, bytes_)
"""

BINDS = ["cuMulticastBindMem", "cuMulticastBindMem_v2", "cuMulticastBindAddr", "cuMulticastBindAddr_v2"]


@pytest.mark.parametrize("name", BINDS)
def test_what_is_bound_lives(new_tenant: Callable[..., Tenant], name: str) -> None:
    tenant = new_tenant(profile="h200", limit_bytes=2 * GIB)
    program = f"""
bind = binds[{name!r}]
steps = [bind(0), bind(0), bind(2 * n), bind(64 * n), release(h), unmap(a, n), both()]
steps += [unbind(n), unbind(0), both(), unbind(2 * n), both(), release(mc)]
out([free_of_charge, steps])
"""
    held = [64 * MIB] * 2
    assert tenant.run(MULTICAST + program) == [
        [0, 0],
        [0, 1, 0, 1, 0, 0, held, 1, 0, held, 0, [0, 0], 0],
    ]


def test_a_multicast_object_takes_what_is_bound_with_it(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="h200", limit_bytes=2 * GIB)
    program = """
view = reserve(8 * n); steps = [map_at(view, 8 * n, mc), binds["cuMulticastBindMem"](0), release(h)]
steps += [unmap(a, n), release(mc), both(), unmap(view, 8 * n), both()]
out(steps)
"""
    assert tenant.run(MULTICAST + program) == [0, 0, 0, 0, 0, [64 * MIB] * 2, 0, [0, 0]]


def test_a_bind_that_fails_keeps_nothing(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="h200", limit_bytes=2 * GIB)
    program = "out([[b(0) for b in binds.values()], unmap(a, n), release(h), both()])"
    faults = ",".join(f"{name}:1:999" for name in BINDS)
    assert tenant.run(MULTICAST + program, SIMGPU_FAULTS=faults) == [[999] * 4, 0, 0, [0, 0]]
