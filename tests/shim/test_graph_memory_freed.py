"""What graphs have allocated: charged until the driver has given it back, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2


def run(tenant: Tenant, program: str, **options: Any) -> Any:
    return tenant.run("from graph_calls import *\nstart(); s, t = stream(), stream()\n" + program, **options)


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
