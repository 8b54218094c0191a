"""What graphs allocate: charged as the driver reserves it, refused at a launch, given back by a trim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2
PIECE = 64 * MIB


def room(tenant: Tenant) -> int:
    """What is left of the tenant's quota beside one context."""
    return tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0]


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
    assert run(tenant, program) == [room(tenant) // PIECE, OUT_OF_MEMORY, [True] * 3, 0]
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
    left = room(tenant)
    assert run(tenant, f"left = {left}" + program) == [OUT_OF_MEMORY, 0, OUT_OF_MEMORY, 0, OUT_OF_MEMORY]
    assert run(tenant, f"left = {left}" + program, limited=False) == [0] * 6


def test_launches_into_one_stream_share_what_is_there(tenant: Tenant) -> None:
    """However full the quota, and without any of them being over: what is reserved is enough for all."""
    big = (room(tenant) // MIB - 10) * MIB
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


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("must('cuMemFree_v2', p)", id="free"),
        pytest.param("must('cuMemFreeAsync', p, s)", id="free-async"),
        pytest.param("must('cuMemFreeAsync_ptsz', p, t)", id="free-async-ptsz"),
        pytest.param("h = graph(); add_free(h, p); must('cuGraphLaunch', executable(h), s)", id="graph"),
        pytest.param("must('cuGraphExecDestroy', e); must('cuMemFree_v2', p)", id="executable-first"),
    ],
)
def test_what_stays_is_charged_once_and_given_back_after_its_end(tenant: Tenant, end: str) -> None:
    program = f"""
base = charged()
for _ in range(3):
    g, p = allocating(700 * MIB); e = executable(g)
    must("cuGraphLaunch", e, s); sync(); trim()
    held = [charged() - base == of_graphs() == 700 * MIB, alloc(200 * MIB)[0]]
    {end}
    sync(); kept = charged() - base == of_graphs() == 700 * MIB
    trim(); gone = charged() - base
    code, other = alloc(700 * MIB); must("cuMemFree_v2", other)
out([held, kept, gone, code])
"""
    assert run(tenant, program) == [[True, OUT_OF_MEMORY], True, 0, 0]
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_freeing_at_the_next_launch_needs_nothing_more(tenant: Tenant) -> None:
    program = """
base = charged(); g, p = allocating(700 * MIB); e = executable(g, AUTO_FREE); delay(100 * MS, s)
codes = {launch(e, s) for _ in range(10)}
sync(); codes |= {launch(e, t)}; sync()
held = charged() - base, of_graphs(USED)
must("cuGraphExecDestroy", e); must("cuMemFree_v2", p); trim()
out([sorted(codes), held, charged() - base])
"""
    assert run(tenant, program) == [[0], [700 * MIB, 700 * MIB], 0]


def test_a_launch_that_the_driver_refuses_costs_nothing(tenant: Tenant) -> None:
    """What has stayed must be freed before the next launch: the driver says so, and not we."""
    program = """
base = charged(); e = executable(allocating(700 * MIB)[0]); must("cuGraphLaunch", e, s)
codes = [launch(e, s), launch(e, t), charged() - base]; sync()
out([*codes, call("cuGraphUpload", e, t), charged() - base, alloc(80 * MIB)[0]])
"""
    assert run(tenant, program) == [1, 1, 700 * MIB, 0, 700 * MIB, 0]


def test_what_graphs_keep_and_do_not_use_is_given_back_before_anything_is_refused(tenant: Tenant) -> None:
    program = """
pool = new("cuDeviceGetDefaultMemPool", 0)[1]
must("cuMemPoolSetAttribute", pool, 4, ctypes.byref(u64(2**63)))
a, b = passing(500 * MIB), passing(300 * MIB); codes = [launch(a, s)]; sync()
code, p = alloc(700 * MIB); free(p)
codes += [code, of_graphs(), launch(a, s)]; sync()
code, p = new("cuMemAllocAsync", 600 * MIB, t); must("cuMemFreeAsync", p, t); sync()
codes += [code, launch(a, s), launch(b, s)]
out(codes)
"""
    assert run(tenant, program) == [0, 0, 0, 0, 0, 0, 0]
    assert tenant.physical_peak() <= GIB
    assert tenant.usage.device(0).peak_bytes <= GIB


@pytest.mark.parametrize("name", ["cuGraphLaunch", "cuGraphUpload", "cuGraphInstantiateWithFlags"])
def test_failures_of_the_driver_are_rolled_back(tenant: Tenant, name: str) -> None:
    program = f"""
base = charged(); g, p = allocating(500 * MIB); h = graph(); add_free(h, add(h, 500 * MIB)[1])
codes = []
for _ in range(5):
    code, e = new("cuGraphInstantiateWithFlags", g, 0)
    codes += [code] if code else [call("{name}", e, s)]
    if not code: must("cuGraphExecDestroy", e)
codes.append(charged() - base)
e = executable(g); codes += [call("cuGraphUpload", e, s), launch(e, s), charged() - base - of_graphs()]
out(codes)
"""
    got = run(tenant, program, SIMGPU_FAULTS=f"{name}:1-5:999")
    assert got == [999] * 5 + [0, 0, 0, 0]


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


@pytest.mark.parametrize(
    "end",
    [
        "must('cuDevicePrimaryCtxReset_v2', 0)",
        "must('cuDevicePrimaryCtxRelease_v2', 0); must('cuDevicePrimaryCtxRelease_v2', 0)",
    ],
)
def test_the_end_of_the_last_context_gives_everything_back(tenant: Tenant, end: str) -> None:
    program = f"""
must("cuDevicePrimaryCtxRetain", ctypes.byref(u64()), 0)
base = charged(); e = executable(allocating(700 * MIB)[0]); must("cuGraphLaunch", e, s); sync()
{end}
start(); s = stream(); after = charged() - base
p = new("cuMemAlloc_v2", 600 * MIB)[1]; held = charged() - base; must("cuMemFree_v2", p)
out([after, held, launch(executable(allocating(700 * MIB)[0]), s), charged() - base])
"""
    assert run(tenant, program) == [0, 600 * MIB, 0, 700 * MIB]


def test_a_thousand_graphs_live_with_memory(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(limit_bytes=3 * GIB)
    program = """
base = charged(); made = [allocating(2 * MIB - n) for n in range(1000)]
live = [(executable(g), p) for g, p in made]; streams = [stream() for _ in range(100)]
codes = {launch(e, streams[i % 100]) for i, (e, _) in enumerate(live)}; sync()
same = charged() - base == of_graphs() == 1000 * 2 * MIB
for e, p in live: must("cuMemFreeAsync", p, s)
codes |= {launch(e, s) for e, _ in live}
for e, p in live: must("cuGraphExecDestroy", e); must("cuMemFree_v2", p)
trim(); out([sorted(codes), same, charged() - base])
"""
    assert run(tenant, program) == [[0], True, 0]


def test_threads_launch_at_once_and_nobody_is_refused_what_is_there(tenant: Tenant) -> None:
    """Eight streams fill the quota; from then on nobody needs more."""
    piece = room(tenant) // 8 // (2 * MIB) * 2 * MIB
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


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_program_does_the_charge_is_the_truth_and_never_over(tenant: Tenant, seed: int) -> None:
    """Over the limit would be a launch that took more than was reserved for it."""
    program = f"""
import random
chance = random.Random({seed}); base = charged(); streams = [stream() for _ in range(4)]; wrong = []
live = {{}}; codes = []; plain = []; executables = []
def make():
    g = graph(); kept = []; last = ()
    for _ in range(chance.randint(1, 4)):
        node, p = add(g, chance.randint(1, 200 * MIB), *last)
        last = (node,)
        if chance.random() < 0.7: last = (add_free(g, p, node),)
        else: kept.append(p)
    executables.append((executable(g, chance.choice((0, AUTO_FREE))), kept))
def go():
    e, kept = chance.choice(executables); where = chance.choice(streams)
    if chance.random() < 0.5: delay(chance.randint(1, 3) * MS, where)
    codes.append(launch(e, where))
    if not codes[-1]: live.update(dict.fromkeys(kept))
def end_one():
    if live:
        p = chance.choice(list(live)); del live[p]
        if chance.random() < 0.5: must("cuMemFree_v2", p)
        else: must("cuMemFreeAsync", p, chance.choice(streams))
def other():
    if plain and chance.random() < 0.5: must("cuMemFree_v2", plain.pop()[1])
    else: plain.append((n := chance.randint(1, 300) * MIB, alloc(n)[1]))
    if not plain or not plain[-1][1]: plain[-1:] = []
def drop_one():
    if len(executables) > 3:
        e, kept = executables.pop(chance.randrange(len(executables))); must("cuGraphExecDestroy", e)
def upload():
    codes.append(call("cuGraphUpload", chance.choice(executables)[0], chance.choice(streams)))
ways = [make] + [go] * 8 + [end_one, other, drop_one, upload, trim]
make()
for _ in range(500):
    way = chance.choice(ways); way()
    if chance.random() < 0.1: must("cuStreamSynchronize", chance.choice(streams))
    if charged() - base != of_graphs() + sum(n for n, _ in plain): wrong.append(way.__name__)
sync()
for n, p in plain: must("cuMemFree_v2", p)
for p in live: must("cuMemFree_v2", p)
trim(); out([wrong, sorted(set(codes)), charged() - base, codes.count(2)])
"""
    wrong, codes, left, refused = run(tenant, program)
    assert (wrong, codes, left) == ([], [0, 1, OUT_OF_MEMORY], 0)
    assert refused > 20
    assert tenant.usage.device(0).peak_bytes <= GIB
    assert tenant.physical_peak() <= GIB


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
