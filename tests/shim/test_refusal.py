"""Every refusal leaves a note: which function, how much, and what the quota was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probing import BOUNDED, DOORS, EXACT, NOT_CARRIED_OUT, Door, Probes, build, ways_of
from tenants import MIB, Tenant

from gshare.shim import abi, sim

OUT_OF_MEMORY = 2
AMPLE = 1 << 40

# Doors that take nothing by themselves, and the function that is refused for them.
REFUSED_LATER = {
    "cuDeviceSetMemPool": "cuMemAllocAsync",
    "cuMemSetMemPool": "cuMemAllocAsync",
    "cuMemPoolCreate": "cuMemAllocFromPoolAsync",
    "cuMemGetDefaultMemPool": "cuMemAllocFromPoolAsync",
    "cuMemGetMemPool": "cuMemAllocFromPoolAsync",
    "cuLinkComplete": "cuModuleLoadData",
    "cuMulticastBind": "cuMemCreate",
    "cuMemMapArrayAsync": "cuMemCreate",
    "cuStreamBeginCapture": "cuGraphLaunch",
    "cuGraphAdd": "cuGraphLaunch",
    "cuGraphInstantiate": "cuGraphLaunch",
}

every_door = pytest.mark.parametrize(
    "door",
    [door for door in DOORS if door.charge in {EXACT, BOUNDED} and door.name not in NOT_CARRIED_OUT],
    ids=str,
)


class Bench:
    """A tenant, and the program that goes through doors as it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        folder.mkdir()
        self.tenant = Tenant(folder, environ, profile="h200*2", limit_bytes=AMPLE)
        program = build(folder, Path(sim.LIBRARY_DIR) / "libcuda.so.1")["dlsym"]
        self.probes = Probes([program, "dlsym"], self.tenant.environ)

    def used(self) -> int:
        return self.tenant.usage.device(0).used_bytes

    def close(self) -> None:
        self.probes.close()
        self.tenant.close()


def refused(door: Door) -> str:
    """The function that answers that there is no memory."""
    if door.variant == "captured":
        return "cuGraphLaunch"
    if door.variant == "uploaded at once":
        return door.name
    return next((api for name, api in REFUSED_LATER.items() if door.name.startswith(name)), door.name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("refusal") / "bench", environ)
    yield bench
    bench.close()


@every_door
def test_a_refusal_is_noted_and_nothing_else_is(bench: Bench, door: Door) -> None:
    """Within the quota nothing is noted; what was charged there is what is refused when a byte is missing."""
    probes, usage, limits = bench.probes, bench.tenant.usage, bench.tenant.limits
    way = ways_of(door)[0]
    before = usage.refusals
    assert probes.prepare(door, way) == 0
    used = bench.used()
    assert probes.take() == 0
    charged = bench.used() - used
    assert probes.give() == 0
    assert probes.leave() == 0
    assert usage.refusals == before

    assert probes.prepare(door, way) == 0
    used = bench.used()
    limits.set_memory_limit(0, used + charged - 1)
    started_ns = time.monotonic_ns()
    assert probes.take() == OUT_OF_MEMORY
    ended_ns = time.monotonic_ns()
    limits.set_memory_limit(0, AMPLE)
    assert probes.leave() == 0
    assert bench.used() == 0
    (note,) = usage.refusals_since(before)
    assert (note.api, note.row, note.pid) == (refused(door), 0, probes.process.pid)
    assert (note.used_bytes, note.limit_bytes) == (used, used + charged - 1)
    assert note.bytes == charged
    assert started_ns <= note.time_ns <= ended_ns


HOST = "from host_calls import *\nfrom vmm_calls import *\n"
HOST_DOORS = {
    "cuMemAllocHost_v2": "new('cuMemAllocHost_v2', 8 * MIB)[0]",
    "cuMemHostAlloc": "host_alloc(8 * MIB)[0]",
    "cuMemHostRegister_v2": "call('cuMemHostRegister_v2', PAGES, 8 * MIB, 0)",
}


@pytest.mark.parametrize("api", HOST_DOORS)
def test_pinned_memory_is_refused_on_the_hosts_row(tenant: Tenant, api: str) -> None:
    tenant.limits.set_memory_limit(abi.HOST_ROW, 8 * MIB - 1)
    assert tenant.run(f"{HOST}start(); out({HOST_DOORS[api]})") == OUT_OF_MEMORY
    (note,) = tenant.usage.refusals_since(0)
    assert (note.api, note.row, note.bytes) == (api, abi.HOST_ROW, 8 * MIB)
    assert (note.used_bytes, note.limit_bytes) == (0, 8 * MIB - 1)


def test_a_device_that_is_not_granted_has_no_row(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="l4*2")
    content = bytearray((tenant.folder / "limits").read_bytes())
    uuid = bytes(tenant.limits.device(1).uuid)
    at = content.index(uuid)
    content[at : at + 16] = bytes(16)
    (tenant.folder / "limits").write_bytes(content)
    code = "must('cuInit', 0); out(new('cuCtxCreate_v2', 0, 1)[0])"
    assert tenant.run(code, CUDA_DEVICE_ORDER="PCI_BUS_ID") == OUT_OF_MEMORY
    (note,) = tenant.usage.refusals_since(0)
    assert (note.api, note.row, note.used_bytes, note.limit_bytes) == ("cuCtxCreate_v2", None, 0, 0)


def test_what_the_device_itself_has_not_is_no_refusal(new_tenant: Callable[..., Tenant]) -> None:
    """The driver says no: that is not the quota's doing."""
    tenant = new_tenant(limit_bytes=abi.NO_LIMIT_BYTES)
    assert tenant.run("start(); out(alloc(30 << 30)[0])") == OUT_OF_MEMORY
    assert tenant.usage.refusals == 0
