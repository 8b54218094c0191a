"""Physical memory handles: charged to where they lie, until no handle and nothing else keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2
INVALID_VALUE = 1

VMM = "from vmm_calls import *\n"


def run(tenant: Tenant, program: str, **options: Any) -> Any:
    return tenant.run(VMM + program, **options)


# -------- the quota --------


def test_nothing_happens_without_a_limit(tenant: Tenant) -> None:
    """Preloaded, but no tenant named."""
    program = """
begin(); n = 2 * GIB; c, h = create(n); a = mapped(h, n); fd = export(h); used = taken(); codes = [c]
codes += [bring(fd)[0], retain(a)[0], release(h), release(h), release(h), release(h)]
codes += [unmap(a, n), os.close(fd), info() and 0]
out([codes, used, both()])
"""
    plain = run(tenant, program, limited=False)
    assert plain == [[0, 0, 0, 0, 0, 0, 1, 0, None, 0], 2 * GIB, [0, 0]]
    tenant.environ = {**tenant.environ, "GSHARE_TENANT_DIR": ""}
    assert run(tenant, program) == plain
    assert tenant.usage.device(0).peak_bytes == 0


def test_the_quota_holds_to_the_byte(tenant: Tenant) -> None:
    grain = 2 * MIB
    pieces = tenant.room_bytes // grain
    program = f"""
begin()
held = []
while len(held) < {pieces + 20}:
    code, handle = create({grain})
    if code: break
    held.append(handle)
rest = both()
out([len(held), code, rest, [release(h) for h in held] == [0] * len(held), both()])
"""
    assert run(tenant, program, limited=False)[:2] == [pieces + 20, 0], "the control gets more"
    taken = pieces * grain
    assert run(tenant, program) == [pieces, OUT_OF_MEMORY, [taken, taken], True, [0, 0]]
    assert tenant.usage.device(0).peak_bytes <= GIB
    whole = f"begin(); out([create({taken + grain})[0], create({taken})[0], create({grain})[0], both()])"
    assert run(tenant, whole) == [OUT_OF_MEMORY, 0, OUT_OF_MEMORY, [taken, taken]]


def test_bad_arguments_get_the_drivers_own_answer(tenant: Tenant) -> None:
    """Whether they are over the quota or not."""
    program = """
begin(); handle = u64(); big = 4 * GIB
ref = ctypes.byref(handle)
prop = lambda **more: ctypes.byref(Prop(**{"type": 1, "location": Location(1, 0), **more}))
codes = [call("cuMemCreate", None, big, prop(), 0), call("cuMemCreate", ref, big, None, 0),
    call("cuMemCreate", ref, big, prop(), 1), call("cuMemCreate", ref, big + 1, prop(), 0),
    call("cuMemCreate", ref, 0, prop(), 0), call("cuMemCreate", ref, MIB, prop(), 0),
    call("cuMemCreate", ref, big, prop(type=0), 0), call("cuMemCreate", ref, big, prop(handles=8), 0),
    call("cuMemCreate", ref, big, prop(handles=64), 0), call("cuMemCreate", ref, 2**64 - 1, prop(), 0),
    *(call("cuMemCreate", ref, big, prop(location=Location(kind, place)), 0)
      for kind, place in [(0, 0), (1, 9), (1, -1), (3, 7), (9, 0)])]
codes += [release(0), release(12345), retain(0)[0], retain(4096)[0], map_at(0, 2 * MIB, 0)]
codes += [unmap(0, 2 * MIB), unmap(4096, 2 * MIB), unmap(2**64 - 4096, 2**63), unmap(0, 0)]
c, handle = create(4 * MIB); address = reserve(8 * MIB)
codes += [map_at(address, 8 * MIB, handle), map_at(address, MIB, handle)]
codes += [map_at(address + 1, 2 * MIB, handle)]
codes += [map_at(address, 4 * MIB, handle), map_at(address, 4 * MIB, handle), unmap(address, 2 * MIB),
    unmap(address + 2 * MIB, 2 * MIB), unmap(address, 8 * MIB), unmap(address, 4 * MIB), release(handle)]
out(codes)
"""
    assert run(tenant, program) == run(tenant, program, limited=False)
    assert tenant.usage.device(0).peak_bytes == tenant.context_bytes[0] + 4 * MIB


@pytest.mark.parametrize("bytes_", [2**63, 2**64 - 2 * MIB, 2**56, 2**46 + 2 * MIB])
def test_absurd_sizes_are_out_of_memory_and_leave_nothing(tenant: Tenant, bytes_: int) -> None:
    assert run(tenant, f"begin(); out([create({bytes_})[0], both()])") == [OUT_OF_MEMORY, [0, 0]]


def test_failures_of_the_driver_are_rolled_back(tenant: Tenant) -> None:
    program = """
begin()
codes = [create(100 * MIB)[0] for _ in range(30)]
code, handle = create(100 * MIB); address = reserve(100 * MIB)
codes += [map_at(address, 100 * MIB, handle) for _ in range(2)]
codes += [unmap(address, 100 * MIB), release(handle), both(), release(handle), both()]
codes += [unmap(address, 100 * MIB), both()]
out([code, codes])
"""
    faults = "cuMemCreate:1-30:2,cuMemMap:1:999,cuMemUnmap:1:999,cuMemRelease:1:999"
    held = [100 * MIB, 100 * MIB]
    code, codes = run(tenant, program, SIMGPU_FAULTS=faults)
    assert code == 0
    assert codes == [*[OUT_OF_MEMORY] * 30, 999, 0, 999, 999, held, 0, held, 0, [0, 0]]


def test_the_host_costs_no_device_anything(tenant: Tenant) -> None:
    program = """
begin(); steps = []
for kind in (2, 3, 4):
    code, handle = create(4 * GIB, kind=kind); address = mapped(handle, 4 * GIB)
    steps += [code, both(), release(handle), unmap(address, 4 * GIB), both()]
out(steps)
"""
    assert run(tenant, program) == [0, [0, 0], 0, 0, [0, 0]] * 3


@pytest.mark.parametrize("order", ["0,1", "1,0"])
def test_memory_is_charged_where_it_lies(new_tenant: Callable[..., Tenant], order: str) -> None:
    """Not to the current context's device, and without one."""
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 2 * GIB])
    for place, device in enumerate(map(int, order.split(","))):
        program = f"""
must("cuInit", 0); handles = []
while not (made := create(128 * MIB, {place}))[0]: handles.append(made[1])
out([len(handles), made[0]]); sys.stdin.readline(); out([release(h) for h in handles] == [0] * len(handles))
"""
        with tenant.start(VMM + program, CUDA_VISIBLE_DEVICES=order) as running:
            assert running.stdout is not None
            count = (GIB, 2 * GIB)[device] // (128 * MIB)
            assert running.stdout.readline() == f"[{count}, {OUT_OF_MEMORY}]\n"
            assert tenant.usage.device(device).used_bytes == count * 128 * MIB
            assert tenant.usage.device(1 - device).used_bytes == 0
            assert tenant.devices()[device]["used_bytes"] == count * 128 * MIB
            assert running.communicate("\n", timeout=60)[0] == "true\n"
        assert tenant.usage.device(device).used_bytes == 0


# -------- how long --------

# Steps on 100 MiB with `h` its handle, `a` and `b` reserved for it: (steps, whether it lives after each).
LIVES = {
    "released": [("release(h)", 0)],
    "mapped": [("map_at(a, n, h)", 1), ("release(h)", 1), ("unmap(a, n)", 0)],
    "unmapped first": [("map_at(a, n, h)", 1), ("unmap(a, n)", 1), ("release(h)", 0)],
    "mapped twice": [
        ("map_at(a, n, h)", 1),
        ("map_at(b, n, h)", 1),
        ("release(h)", 1),
        ("unmap(a, n)", 1),
        ("call('cuMemAddressFree', a, n)", 1),
        ("unmap(b, n)", 0),
    ],
    "retained": [
        ("map_at(a, n, h)", 1),
        ("release(h)", 1),
        ("retain(a + 4096)[0]", 1),
        ("unmap(a, n)", 1),
        ("release(h)", 0),
        ("release(h)", 0),
    ],
    "retained and mapped again": [
        ("map_at(a, n, h)", 1),
        ("retain(a)[0]", 1),
        ("release(h)", 1),
        ("unmap(a, n)", 1),
        ("map_at(b, n, h)", 1),
        ("release(h)", 1),
        ("unmap(b, n)", 0),
    ],
    "imported": [
        ("bring(fd)[0]", 1),
        ("os.close(fd)", 1),
        ("release(h)", 1),
        ("map_at(a, n, h)", 1),
        ("release(h)", 1),
        ("unmap(a, n)", 0),
    ],
    "a descriptor": [("release(h)", 1), ("os.close(fd)", 0)],
    "a copy of a descriptor": [
        ("os.dup2(fd, 99)", 1),
        ("os.close(fd)", 1),
        ("release(h)", 1),
        ("bring(99)[0]", 1),
        ("os.close(99)", 1),
        ("release(h)", 0),
    ],
    "another descriptor": [
        ("globals().update(other=export(h))", 1),
        ("release(h)", 1),
        ("os.close(fd)", 1),
        ("os.close(other)", 0),
    ],
    "external memory": [
        ("globals().update(e=bring_external(fd, n)[1])", 1),
        ("release(h)", 1),
        ("globals().update(p=buffer_of(e, n)[1])", 1),
        ("call('cuDestroyExternalMemory', e)", 1),
        ("call('cuMemFree_v2', p)", 0),
    ],
    "external memory destroyed last": [
        ("globals().update(e=bring_external(fd, n)[1])", 1),
        ("release(h)", 1),
        ("call('cuMemFree_v2', buffer_of(e, n)[1])", 1),
        ("call('cuDestroyExternalMemory', e)", 0),
    ],
}


@pytest.mark.parametrize("life", LIVES)
def test_memory_is_charged_while_anything_keeps_it(tenant: Tenant, life: str) -> None:
    steps = LIVES[life]
    exported = "fd" in "".join(step for step, _ in steps)
    program = f"""
begin(); n = 100 * MIB; c, h = create(n); a, b = reserve(n), reserve(n)
{"fd = export(h)" if exported else ""}
out([[{", ".join(f"({step}, call('cuCtxSynchronize'), both())[2]" for step, _ in steps)}],
    create(800 * MIB)[0], both()])
"""
    lives, again, after = run(tenant, program)
    assert lives == [[alive * 100 * MIB] * 2 for _, alive in steps]
    assert [again, after] == [0, [800 * MIB] * 2], "all of the quota is there again"


def test_many_mappings_go_at_once(tenant: Tenant) -> None:
    program = """
begin(); n = 2 * MIB; count = 300; at = reserve(count * n)
held = [create(n)[1] for _ in range(count)]
steps = [sum(map_at(at + i * n, n, h) for i, h in enumerate(held)), sum(map(release, held)), both()]
steps += [unmap(at + 7, n), unmap(at, 3 * n + 1), both()]
steps += [unmap(at, 100 * n), both(), unmap(at, count * n), both(), unmap(at + 100 * n, 200 * n), both()]
out(steps)
"""
    n = 2 * MIB
    assert run(tenant, program) == [
        *[0, 0, [300 * n, 300 * n]],
        *[1, 1, [300 * n, 300 * n]],
        *[0, [200 * n, 200 * n], 1, [200 * n, 200 * n], 0, [0, 0]],
    ]


def test_memory_outlives_contexts(tenant: Tenant) -> None:
    """It belongs to the process."""
    program = """
begin(); c, h = create(100 * MIB); a = mapped(h, 100 * MIB); steps = [release(h)]
must("cuDevicePrimaryCtxReset_v2", 0)
steps += [retain(a)[0]]
begin(); base[:] = 0, 0; context = both()
must("cuMemUnmap", a, 100 * MIB); must("cuMemRelease", h); left = both()
out([steps, [x - y for x, y in zip(context, left)]])
"""
    assert run(tenant, program) == [[0, 0], [100 * MIB, 100 * MIB]]


def test_threads_create_map_and_release(tenant: Tenant) -> None:
    program = """
begin(); n = 16 * MIB; most = [0]; codes = set()
def work():
    for _ in range(5):
        held = []
        while len(held) < 60:
            code, h = create(n)
            if code: codes.add(code); break
            held.append((h, mapped(h, n)))
        most[0] = max(most[0], len(held))
        for h, a in held[::2]: must("cuMemRelease", h); must("cuMemUnmap", a, n)
        for h, a in held[1::2]: must("cuMemUnmap", a, n); must("cuMemRelease", h)
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
out([most[0] > 0, sorted(codes), both()])
"""
    assert run(tenant, program) == [True, [OUT_OF_MEMORY], [0, 0]]
    assert tenant.physical_peak() <= GIB


def test_what_is_retained_just_when_all_else_lets_go_of_it_stays_charged(tenant: Tenant) -> None:
    program = """
begin(); n = 16 * MIB; seen = set()
def let_go(gate, a, h): gate.wait(); must("cuMemRelease", h); must("cuMemUnmap", a, n)
for turn in range(300):
    _, h = create(n); a = mapped(h, n); gate = threading.Barrier(2)
    other = threading.Thread(target=let_go, args=(gate, a, h)); other.start()
    gate.wait(); code, again = retain(a); other.join()
    seen.add((both()[0] - both()[1], code == 0, both()[0]))
    if not code: must("cuMemRelease", again)
out([sorted(seen), both()])
"""
    seen, left = run(tenant, program)
    assert left == [0, 0]
    assert {tuple(what) for what in seen} <= {(0, True, 16 * MIB), (0, False, 0)}


def test_a_forked_child_owns_nothing(tenant: Tenant) -> None:
    """It lets go of nothing, and keeps what its parent lets go of only by descriptors that it was left."""
    program = """
begin(); c, h = create(100 * MIB); a = mapped(h, 100 * MIB); ready, go = os.pipe(), os.pipe()
child = os.fork()
if not child:
    os.write(ready[1], b"x"); os.read(go[0], 1); os._exit(0)
os.read(ready[0], 1)
steps = [both(), release(h), both(), unmap(a, 100 * MIB), both()]
os.write(go[1], b"x"); os.waitpid(child, 0)
out(steps)
"""
    held = [100 * MIB, 100 * MIB]
    assert run(tenant, program) == [held, 0, held, 0, [0, 0]]


def test_a_killed_program_leaves_nothing(tenant: Tenant) -> None:
    program = """
begin(); c, h = create(700 * MIB); a = mapped(h, 700 * MIB); fd = export(h); release(h)
out(c); os.kill(os.getpid(), 9)
"""
    for _ in range(2):
        with tenant.start(VMM + program) as killed:
            assert killed.communicate(timeout=60)[0] == "0\n"
    assert run(tenant, "begin(); out([create(800 * MIB)[0], both()])") == [0, [800 * MIB] * 2]
