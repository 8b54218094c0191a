"""What a tenant does through the shim, whatever it is, leaves nothing that it was not charged for."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack

import pynvml
import pytest
from tenants import Tenant

from gshare.controller.occupants import real_occupants, simulated_occupants
from gshare.controller.residue import BUSY_SAMPLES, Sample, residue_bytes

# A few of everything that takes device memory, for ever; up to `pause_s` between two changes.
CHURN = """
import random
import graph_calls as g, vmm_calls as v
from images import ptx

chance = random.Random(int(os.environ["SEED"]))
pause_s = float(os.environ["PAUSE_S"])
start()
stream = g.stream()
held = []

def got(kind, code, handle):
    if code == 0:
        held.append((kind, handle))

def take():
    kind = chance.choice(["linear", "managed", "async", "physical", "array", "module", "graph"])
    size_bytes = chance.choice([1, 5000, MIB, 3 * MIB + 7, 20 * MIB])
    if kind == "linear":
        got(kind, *alloc(size_bytes))
    elif kind == "managed":
        got(kind, *new("cuMemAllocManaged", size_bytes, ctypes.c_uint(1)))
    elif kind == "async":
        got(kind, *new("cuMemAllocAsync", size_bytes, u64(stream)))
    elif kind == "physical":
        got(kind, *v.create(-(-size_bytes // (2 * MIB)) * 2 * MIB))
    elif kind == "array":
        shape = (ctypes.c_size_t * 3)(1000 + size_bytes % 1000, 700, 0x20 | 1 << 32)
        got(kind, *new("cuArrayCreate_v2", shape))
    elif kind == "module":
        got(kind, *new("cuModuleLoadData", ptx(f".global .b8 room[{size_bytes}];")))
    else:
        nodes, _ = g.allocating(size_bytes)
        executable = g.executable(nodes, 1)
        g.launch(executable, stream)
        held.append((kind, executable))

FREES = {"linear": "cuMemFree_v2", "managed": "cuMemFree_v2", "physical": "cuMemRelease",
         "array": "cuArrayDestroy", "module": "cuModuleUnload", "graph": "cuGraphExecDestroy"}

def give():
    kind, handle = held.pop(chance.randrange(len(held)))
    if kind == "async":
        must("cuMemFreeAsync", handle, u64(stream))
    else:
        must(FREES[kind], handle)

kinds = set()
steps = 0
out(0)
while True:
    take() if len(held) < 5 or len(held) < 30 and chance.random() < 0.5 else give()
    kinds |= {kind for kind, _ in held}
    steps += 1
    if steps == 200:
        assert len(kinds) == 7, kinds
        out(sorted(kinds))
    if chance.random() < 0.02:
        must("cuStreamSynchronize", u64(stream))
    if pause_s:
        time.sleep(chance.random() * pause_s)
"""


class Audit:
    """Samples of a tenant as the controller takes them, only faster."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.uuid = tenant.devices()[0]["uuid"]
        self.samples: list[Sample] = []

    def take(self) -> Sample:
        before = self.tenant.usage.device(0)
        occupants = simulated_occupants(self.tenant.machine)
        after = self.tenant.usage.device(0)
        assert occupants is not None
        most = max(before.used_bytes, after.used_bytes)
        present = sum(one.held_bytes or 0 for one in occupants[self.uuid].values())
        sample = Sample(present, most, before.change == after.change)
        self.samples = [*self.samples, sample][-BUSY_SAMPLES:]
        return sample


LONG = pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(300)])


@pytest.mark.parametrize("pause_s", ["0.02", "0"], ids=["slow", "fast"])
@pytest.mark.parametrize("long", [False, LONG], ids=["short", "long"])
def test_all_kinds_of_allocations_leave_no_residue(tenant: Tenant, pause_s: str, long: bool) -> None:
    tenant.limits.set_memory_limit(0, 16 << 30)
    audit = Audit(tenant)
    with ExitStack() as running:
        programs = [
            running.enter_context(tenant.start(CHURN, SEED=str(seed), PAUSE_S=pause_s)) for seed in (1, 2)
        ]
        for program in programs:
            running.callback(program.kill)
            assert program.stdout is not None
            assert json.loads(program.stdout.readline()) == 0
        end = time.monotonic() + (120 if long else 2)
        residue, samples, quiet, most = 0, 0, 0, 0
        while time.monotonic() < end:
            sample = audit.take()
            residue = residue_bytes(audit.samples, residue)
            assert residue == 0, audit.samples
            samples += 1
            quiet += sample.quiet
            most = max(most, sample.present_bytes)
        assert all(program.poll() is None for program in programs), programs[0].communicate()
    assert most > sum(tenant.context_bytes), "they took memory"
    print(f"{quiet} of {samples} samples were quiet, {most >> 20} MiB at most")


def test_what_is_there_and_not_charged_is_seen_in_the_same_way(tenant: Tenant) -> None:
    """The control: the same samples with a program in them that nobody charges."""
    audit = Audit(tenant)
    program = "start(); alloc(100 * MIB); out(0); sys.stdin.readline()"
    with tenant.start(program) as own, tenant.start(program, limited=False) as other:
        for each in own, other:
            assert each.stdout is not None
            each.stdout.readline()
        for _ in range(BUSY_SAMPLES):
            audit.take()
        assert residue_bytes(audit.samples, 0) == tenant.context_bytes[0] + (100 << 20)
        for each in own, other:
            each.communicate("\n", timeout=60)


def test_nvml_tells_the_same_as_the_simulated_books(tenant: Tenant) -> None:
    """The way to a real device's processes, over the simulated NVML."""
    program = "start(); alloc(100 * MIB); out(os.getpid()); sys.stdin.readline()"
    code = "from gshare.controller.occupants import real_occupants\nout(real_occupants())"
    with tenant.start(program) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        seen = tenant.run(code, limited=False)
        told = simulated_occupants(tenant.machine)
        assert told is not None
        held = {
            uuid: {str(pid): one.held_bytes for pid, one in those.items()} for uuid, those in told.items()
        }
        assert {uuid: {pid: one[0] for pid, one in those.items()} for uuid, those in seen.items()} == held
        assert list(seen[tenant.devices()[0]["uuid"]]) == [str(worker.pid)]
        worker.communicate("\n", timeout=60)


def test_without_nvml_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert real_occupants() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert real_occupants() is None
    assert simulated_occupants("/dev/null/machine") is None
