"""What graphs allocate: charged as the driver reserves it, refused at a launch, given back by a trim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2
PIECE = 64 * MIB


def run(tenant: Tenant, program: str, **options: Any) -> Any:
    return tenant.run("from graph_calls import *\nstart(); s, t = stream(), stream()\n" + program, **options)


# Ways to make a graph `g` with an allocation of `bytes_` at address `p`.
ADDING = {
    "node": "g = graph(); p = add(g, bytes_)[1]",
    "cuGraphAddNode": "g = graph(); p = add_by('cuGraphAddNode', g, bytes_)",
    "cuGraphAddNode_v2": "g = graph(); p = add_by('cuGraphAddNode_v2', g, bytes_, None)",
    "cuMemAllocAsync": "begin(s); p = new('cuMemAllocAsync', bytes_, s)[1]; g = end(s)",
    "cuMemAllocAsync_ptsz": "begin(s); p = new('cuMemAllocAsync_ptsz', bytes_, s)[1]; g = end(s)",
    "from-pool": "begin(s); p = new('cuMemAllocFromPoolAsync', bytes_, pool, s)[1]; g = end(s)",
    "from-pool-ptsz": "begin(s); p = new('cuMemAllocFromPoolAsync_ptsz', bytes_, pool, s)[1]; g = end(s)",
}

INSTANTIATING = [
    "new('cuGraphInstantiate', g, None, None, 0)",
    "new('cuGraphInstantiate_v2', g, None, None, 0)",
    "new('cuGraphInstantiateWithFlags', g, 0)",
    "new('cuGraphInstantiateWithParams', g, ctypes.byref(With()))",
    "new('cuGraphInstantiateWithParams_ptsz', g, ctypes.byref(With()))",
]

# Ways to have memory come behind the addresses of `g`, whose executable form is `e`.
TAKING = [
    "call('cuGraphLaunch', e, s)",
    "call('cuGraphLaunch', e, 0)",
    "call('cuGraphLaunch_ptsz', e, 0)",
    "call('cuGraphUpload', e, s) or launch(e, s)",
    "call('cuGraphUpload_ptsz', e, s) or launch(e, s)",
]


def pieces(
    adding: str = ADDING["node"], instantiating: str = INSTANTIATING[2], taking: str = TAKING[0]
) -> str:
    """A program: graphs allocate pieces until one is refused; then all is freed, and taken at once."""
    return f"""
pool = new("cuDeviceGetDefaultMemPool", 0)[1]
def one(bytes_):
    {adding}
    code, e = {instantiating}
    return (code or {taking}), p, e
base = charged(); live = []; code = 0
while not code and len(live) < 20:
    code, p, e = one({PIECE})
    live += [] if code else [p]
refused = code
must("cuCtxSynchronize")
exact = [charged() - base == of_graphs() == len(live) * {PIECE}]
for p in live: must("cuMemFree_v2", p)
exact.append(charged() - base == of_graphs()); trim(); exact.append(charged() - base == of_graphs() == 0)
left = info()[0]
out([len(live), refused, exact, alloc(left if left < GIB else GIB)[0]])
"""


def check_pieces(tenant: Tenant, program: str) -> None:
    assert run(tenant, program) == [tenant.room_bytes // PIECE, OUT_OF_MEMORY, [True] * 3, 0]
    assert tenant.physical_peak() <= tenant.usage.device(0).peak_bytes <= GIB
    assert run(tenant, program, limited=False)[:2] == [20, 0]


@pytest.mark.parametrize("adding", ADDING.values(), ids=ADDING)
def test_whatever_makes_a_node_its_memory_obeys_the_quota(tenant: Tenant, adding: str) -> None:
    check_pieces(tenant, pieces(adding=adding))


@pytest.mark.parametrize("instantiating", INSTANTIATING)
def test_however_a_graph_is_instantiated_its_memory_obeys_the_quota(
    tenant: Tenant, instantiating: str
) -> None:
    check_pieces(tenant, pieces(instantiating=instantiating))


@pytest.mark.parametrize("taking", TAKING)
def test_whatever_brings_the_memory_obeys_the_quota(tenant: Tenant, taking: str) -> None:
    check_pieces(tenant, pieces(taking=taking))


@pytest.mark.parametrize("twin", ["", "_ptsz"])
def test_an_upload_at_instantiation_obeys_the_quota(tenant: Tenant, twin: str) -> None:
    program = f"""
codes = []; base = charged()
for n in (300, 600, 100):
    result = upload_at_once(allocating(n * MIB)[0], s, "cuGraphInstantiateWithParams{twin}")
    codes.append([*result, of_graphs() // MIB, charged() - base == of_graphs()])
    must("cuStreamSynchronize", s)
out(codes)
"""
    assert [code for code, *_ in run(tenant, program, limited=False)] == [0, 0, 0]
    assert run(tenant, program) == [[0, 0, 300, True], [0, 0, 600, True], [0, 0, 600, True]]
    program = program.replace("600", "900")
    assert run(tenant, program) == [[0, 0, 300, True], [OUT_OF_MEMORY, 1, 0, True], [0, 0, 100, True]]
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_to_the_byte(tenant: Tenant) -> None:
    """Two mebibytes are the grain of what graphs are given."""
    program = """
codes = []
for n in (left + 1, left, left - 2 * MIB + 1):
    g, p = allocating(n); e = executable(g); codes.append(launch(e, s))
    if not codes[-1]:
        codes.append(alloc(1)[0]); must("cuMemFree_v2", p)
    trim()
out(codes)
"""
    left = tenant.room_bytes
    assert run(tenant, f"left = {left}" + program) == [OUT_OF_MEMORY, 0, OUT_OF_MEMORY, 0, OUT_OF_MEMORY]
    assert run(tenant, f"left = {left}" + program, limited=False) == [0] * 6


def test_launches_into_one_stream_share_what_is_there(tenant: Tenant) -> None:
    """However full the quota, and without any of them being over: what is reserved is enough for all."""
    big = (tenant.room_bytes // MIB - 10) * MIB
    program = f"""
a, b, c = passing({big}), passing({big} // 2), passing(MIB); base = charged()
delay(300 * MS, s)
codes = {{launch(e, s) for _ in range(20) for e in (a, b, c, a)}}
ahead = call("cuStreamQuery", s)
other = [launch(b, t), launch(c, t)]
must("cuStreamSynchronize", s)
out([sorted(codes), ahead, other, launch(b, t), of_graphs() - {big}, charged() - base - of_graphs()])
"""
    assert run(tenant, program) == [[0], 600, [OUT_OF_MEMORY, 0], 0, 2 * MIB, 0]
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_captured_calls_are_no_allocations(tenant: Tenant) -> None:
    program = """
base = charged(); p = new("cuMemAllocAsync", 100 * MIB, s)[1]; sync(); mine = charged() - base
begin(s)
code, q = new("cuMemAllocAsync", 2000 * MIB, s)
freed = [call("cuMemFreeAsync", q, s), call("cuMemFreeAsync", p, s) != 0]
end(s)
seen = [charged() - base - mine]
gg, live = allocating(64 * MIB); e = executable(gg); must("cuGraphLaunch", e, s); sync()
begin(s); freed.append(call("cuMemFreeAsync", live, s))
killer = executable(end(s))
seen.append(charged() - base - mine)
codes = [launch(e, s), launch(killer, s), launch(e, s), launch(killer, s)]; sync()
seen.append(charged() - base - mine); trim(); seen.append(charged() - base - mine)
must("cuMemFree_v2", p); sync(); out([mine, code, freed, seen, codes, charged() - base])
"""
    assert run(tenant, program) == [
        100 * MIB,
        0,
        [0, True, 0],
        [0, 64 * MIB, 64 * MIB, 0],
        [1, 0, 0, 0],
        0,
    ]


def test_a_launch_that_the_driver_refuses_costs_nothing(tenant: Tenant) -> None:
    """What has stayed must be freed before the next launch: the driver says so, and not we."""
    program = """
base = charged(); e = executable(allocating(700 * MIB)[0]); must("cuGraphLaunch", e, s)
codes = [launch(e, s), launch(e, t), charged() - base]; sync()
out([*codes, call("cuGraphUpload", e, t), charged() - base, alloc(80 * MIB)[0]])
"""
    assert run(tenant, program) == [1, 1, 700 * MIB, 0, 700 * MIB, 0]


def test_each_device_pays_for_its_own(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 2 * GIB])
    program = """
must("cuDevicePrimaryCtxRetain", ctypes.byref(u64()), 1)
def both(first, second):
    g = graph(); add(g, first * MIB); add(g, second * MIB, device=1); return executable(g)
codes = [launch(both(*n), s) for n in ((100, 1000), (100, 1000), (900, 100), (100, 100))]
sync(); out([codes, of_graphs(), of_graphs(device=1)]); sys.stdin.readline()
"""
    with tenant.start("from graph_calls import *\nstart(); s = stream()\n" + program) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"[[0, 2, 2, 0], {200 * MIB}, {1100 * MIB}]\n"
        for device, bytes_ in ((0, 200 * MIB), (1, 1100 * MIB)):
            used = tenant.usage.device(device).used_bytes
            assert used == tenant.devices()[device]["used_bytes"] == tenant.context_bytes[device] + bytes_
        running.communicate("\n", timeout=60)


def test_a_device_that_is_not_granted_gives_nothing(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 0])
    assert run(tenant, "out([launch(passing(MIB, 1), s), launch(passing(MIB), s)])") == [OUT_OF_MEMORY, 0]


def test_a_graph_inside_another_counts(tenant: Tenant) -> None:
    program = """
inner, p = allocating(900 * MIB); outer = graph(); what = Node(type=4)
what.u.words[0] = inner; what.u.words[1] = 1
must("cuGraphAddNode", ctypes.byref(u64()), outer, None, 0, ctypes.byref(what))
e = executable(outer); out([launch(e, s), of_graphs()])
"""
    assert run(tenant, program, limited=False) == [0, 900 * MIB]
    assert run(tenant, program) == [OUT_OF_MEMORY, 0]


def test_threads_launch_at_once_and_nobody_is_refused_what_is_there(tenant: Tenant) -> None:
    """Eight streams fill the quota; from then on nobody needs more."""
    piece = tenant.room_bytes // 8 // (2 * MIB) * 2 * MIB
    program = f"""
context = start(); base = charged(); codes = []; gate = threading.Barrier(8)
def work():
    must("cuCtxSetCurrent", context); own = stream(); e = passing({piece})
    codes.append(launch(e, own)); gate.wait()
    for _ in range(100): codes.append(launch(e, own))
    must("cuStreamSynchronize", own)
threads = [threading.Thread(target=work) for _ in range(8)]
for x in threads: x.start()
for x in threads: x.join()
exact = charged() - base - of_graphs(); trim()
out([sorted(set(codes)), exact, charged() - base])
"""
    assert run(tenant, program) == [[0], 0, 0]
    assert tenant.physical_peak() <= GIB
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_threads_race_for_the_last_of_it(tenant: Tenant) -> None:
    program = """
context = start(); base = charged(); codes = set()
def work(n):
    must("cuCtxSetCurrent", context); own = stream(); e = passing(n * 50 * MIB)
    for i in range(60):
        delay(MS // 2, own); codes.add(launch(e, own))
        if i % 3 == n % 3: must("cuStreamSynchronize", own)
        if i % 10 == n: trim()
        p = alloc(100 * MIB); codes.add(p[0])
        if not p[0]: free(p[1])
threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 7)]
for x in threads: x.start()
for x in threads: x.join()
sync(); exact = charged() - base - of_graphs(); trim(); out([sorted(codes), exact, charged() - base])
"""
    assert run(tenant, program) == [[0, OUT_OF_MEMORY], 0, 0]
    assert tenant.physical_peak() <= GIB
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_nothing_happens_without_a_limit(tenant: Tenant) -> None:
    program = """
codes = [launch(executable(allocating(300 * MIB)[0]), s) for _ in range(10)]; sync()
codes += [of_graphs(), new("cuGraphInstantiateWithFlags", 0, 0)[0], call("cuGraphLaunch", 0, s),
          call("cuGraphUpload", 0, s), call("cuGraphInstantiateWithParams", None, graph(), None),
          call("cuGraphExecDestroy", 0), call("cuDeviceGraphMemTrim", 99)]
out(codes)
"""
    plain = run(tenant, program, limited=False)
    tenant.environ = {**tenant.environ, "GSHARE_TENANT_DIR": ""}
    assert run(tenant, program) == plain
    assert plain[:10] == [0] * 10
