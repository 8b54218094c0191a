"""Memory that graphs allocate: addresses, physical memory, lifetimes, and what such graphs cannot do."""

from __future__ import annotations

from typing import Any

from simulated import Machine, line, tell

MIB = 1 << 20
START = "import ctypes\nfrom graph_work import *\nstart()\ns, t = stream(), stream()\nfunction()\n"


def run(machine: Machine, code: str) -> Any:
    return machine.run(START + code)


def test_physical_memory_comes_with_the_first_launch_and_stays_until_it_is_trimmed(machine: Machine) -> None:
    got = run(
        machine,
        """
before = info()[0]; seen = []
def look():
    seen.append([n // MIB for n in (*graph_memory(), before - info()[0])])
g = graph(); node, p = add_alloc(g, 5 * MIB); k = add(g, kernel(1 * MS), [node])
code, f = try_free(g, p, [k]); assert code == 0
e = executable(g); look()
spin(50 * MS, s); must("cuGraphLaunch", e, s); look(); must("cuStreamSynchronize", s); look()
must("cuGraphLaunch", e, s); must("cuGraphLaunch", e, s); must("cuStreamSynchronize", s); look()
must("cuGraphExecDestroy", e); must("cuGraphDestroy", g); look(); must("cuDeviceGraphMemTrim", 0); look()
for attribute in (1, 3):
    must("cuDeviceSetGraphMemAttribute", 0, attribute, ctypes.byref(u64(0)))
look()
out(seen)
""",
    )
    assert got == [
        [0, 0, 0, 0, 0],
        [6, 6, 6, 6, 6],
        [0, 6, 6, 6, 6],
        [0, 6, 6, 6, 6],
        [0, 6, 6, 6, 6],
        [0, 6, 0, 6, 0],
        [0, 0, 0, 0, 0],
    ]


def test_the_truth_knows_what_graphs_hold(machine: Machine) -> None:
    program = machine.start(
        START
        + """
g = graph(); add_alloc(g, 4 * MIB); must("cuGraphLaunch", executable(g), s); sync(); out(os.getpid()); wait()
must("cuDeviceGraphMemTrim", 0); out(0); wait()
"""
    )
    pid = line(program)
    held = machine.process(pid)["used_bytes"]
    tell(program)
    line(program)
    assert machine.process(pid)["used_bytes"] == held  # not freed yet: nothing to trim
    tell(program)
    program.communicate()
    assert program.returncode == 0
    assert machine.process(pid)["peak_bytes"] >= 4 * MIB


def test_graphs_in_one_stream_share_physical_memory_and_those_in_two_do_not(machine: Machine) -> None:
    assert run(
        machine,
        """
def one():
    g = graph(); node, p = add_alloc(g, 4 * MIB); try_free(g, p, [add(g, kernel(1 * MS), [node])])
    return executable(g), p
(a, pa), (b, pb), (c, pc) = one(), one(), one()
spin(50 * MS, s); must("cuGraphLaunch", a, s); must("cuGraphLaunch", b, s); same = graph_memory()[2] // MIB
spin(50 * MS, t); must("cuGraphLaunch", c, t); two = graph_memory()[2] // MIB; sync()
spin(50 * MS, s); must("cuGraphLaunch", a, t); later = graph_memory()[2] // MIB; sync()
out([same, two, later, len({pa, pb, pc})])
""",
    ) == [4, 8, 8, 3]


def test_an_address_is_passed_on_where_lifetimes_cannot_overlap(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); first, p = add_alloc(g, 3 * MIB); _, f = try_free(g, p, [first])
_, after = add_alloc(g, 3 * MIB, [f]); _, beside = add_alloc(g, 3 * MIB)
_, other = add_alloc(g, 5 * MIB, [f])
out([after == p, beside == p, other == p])
""",
    ) == [True, False, False]


def test_an_allocation_that_stays_is_freed_in_one_of_four_ways(machine: Machine) -> None:
    assert run(
        machine,
        """
def one(flags=0):
    g = graph(); node, p = add_alloc(g, 2 * MIB)
    new("cuGraphAddMemsetNode", g, nodes(node), 1, ctypes.byref(Fill(p, 0, 7, 1, 4096, 1)), None)
    return executable(g, flags), p
def go(e):
    code = call("cuGraphLaunch", e, s); must("cuStreamSynchronize", s); return code
e, p = one(); codes = [call("cuMemFree_v2", p), go(e), from_device(p, 4)[1].hex(), go(e),
    call("cuMemFree_v2", p)]
codes += [call("cuMemFree_v2", p), go(e), call("cuMemFreeAsync", p, s), call("cuMemFreeAsync", p, s), go(e)]
h = graph(); code, f = try_free(h, p); killer = executable(h); codes += [code, go(killer), go(killer), go(e)]
a, q = one(1); codes += [go(a), go(a), go(a), graph_memory()[0] // MIB]
must("cuGraphExecDestroy", a); codes += [from_device(q, 2)[0], call("cuMemFree_v2", q),
    graph_memory()[0] // MIB]
out(codes)
""",
    ) == [1, 0, "07070707", 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0, 2]


def test_a_free_belongs_to_one_place(machine: Machine) -> None:
    assert run(
        machine,
        """
_, plain = alloc(4096); g = graph(); node, p = add_alloc(g, MIB); _, q = add_alloc(g, MIB)
codes = [try_free(g, p, [node])[0], try_free(g, p, [node])[0], try_free(g, plain)[0], try_free(g, 12345)[0]]
h = graph(); codes += [try_free(h, p)[0], try_free(h, q)[0], try_free(h, q)[0], try_free(g, q)[0]]
address = u64(); must("cuGraphMemFreeNodeGetParams", try_free(graph(), q)[1], ctypes.byref(address))
read = Alloc(); must("cuGraphMemAllocNodeGetParams", node, ctypes.byref(read))
bad = params("alloc", Alloc(type=1, location=Location(1, 7), bytes=MIB))
none = params("alloc", Alloc(type=1, location=Location(1, 0)))
ipc = params("alloc", Alloc(type=1, handles=1, location=Location(1, 0), bytes=MIB))
out([codes, address.value == q, [read.bytes, read.address == p, read.location.id, read.type],
     [try_add(g, x)[0] for x in (bad, none, ipc)]])
""",
    ) == [[0, 1, 1, 1, 1, 0, 1, 1], True, [MIB, True, 0, 1], [1, 1, 801]]


def test_what_graphs_with_memory_nodes_cannot_do(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); node, p = add_alloc(g, MIB); k = add(g, kernel(1), [node]); e = executable(g)
codes = [new("cuGraphClone", g)[0], call("cuGraphDestroyNode", k), new("cuGraphInstantiateWithFlags", g,
    0)[0],
         call("cuGraphRemoveDependencies", g, nodes(node), nodes(k), 1),
         new("cuGraphAddChildGraphNode", graph(), nodes(), 0, g)[0]]
must("cuGraphExecDestroy", e); e = executable(g); must("cuGraphExecDestroy", e)
outer = graph(); moved = params("child", Child(g, 1)); codes.append(try_add(outer, moved)[0])
codes += [try_add(g, params("alloc", Alloc(type=1, location=Location(1, 0), bytes=MIB)))[0],
          call("cuGraphDestroy", g), new("cuGraphInstantiateWithFlags", g, 0)[0], try_add(graph(), moved)[0]]
e = executable(outer); must("cuGraphLaunch", e, s); sync()
codes += [call("cuGraphLaunch", e, s), free(p), call("cuGraphLaunch", e, s), call("cuGraphDestroy", outer)]
out(codes)
""",
    ) == [801, 801, 801, 801, 801, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_stream_ordered_allocations_are_captured_as_nodes(machine: Machine) -> None:
    assert run(
        machine,
        """
begin(s); code, p = new("cuMemAllocAsync", 3 * MIB, s); must("cuMemsetD8Async", p, 5, 3 * MIB, s)
pool = new("cuDeviceGetDefaultMemPool", 0)[1]; code2, q = new("cuMemAllocFromPoolAsync", MIB, pool, s)
codes = [code, code2, call("cuMemFreeAsync", p, s), call("cuMemFreeAsync", p, s)]
ended, g = end(s); e = executable(g); kinds = (u64 * 9)(); n = size(9)
must("cuGraphGetNodes", g, kinds, ctypes.byref(n))
kind = ctypes.c_int(); types = []
for node in kinds[:n.value]:
    must("cuGraphNodeGetType", node, ctypes.byref(kind)); types.append(kind.value)
must("cuGraphLaunch", e, s); sync(); used = graph_memory()
out([codes, ended, types, used[0] // MIB, used[2] // MIB, call("cuMemFreeAsync", p, s),
    call("cuMemFreeAsync", q, s)])
""",
    ) == [[0, 0, 0, 1], 0, [10, 2, 10, 11], 2, 6, 1, 0]


def test_upload_reserves_without_running(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); node, p = add_alloc(g, 2 * MIB); e = executable(g)
codes = [graph_memory()[2] // MIB, call("cuGraphUpload", e, s), graph_memory()[2] // MIB,
    call("cuMemFree_v2", p)]
must("cuGraphLaunch", e, s); sync(); codes.append(graph_memory()[2] // MIB)
class With(ctypes.Structure):
    _fields_ = [("flags", u64), ("stream", u64), ("node", u64), ("result", ctypes.c_int)]
h = graph(); add_alloc(h, 8 * MIB); w = With(2, t)
code, _ = new("cuGraphInstantiateWithParams", h, ctypes.byref(w))
out([*codes, code, w.result, graph_memory()[2] // MIB])
""",
    ) == [0, 0, 2, 1, 2, 0, 0, 10]


def test_a_full_device_refuses_the_launch_and_not_the_node(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); node, p = add_alloc(g, 40 << 30); e = executable(g)
codes = [call("cuGraphLaunch", e, s), graph_memory()]
h = graph(); add_alloc(h, 2 * MIB); codes.append(call("cuGraphLaunch", executable(h), s)); sync()
out(codes)
""",
    ) == [2, [0, 0, 0, 0], 0]


def test_the_end_of_the_last_context_gives_everything_back(machine: Machine) -> None:
    run(
        machine,
        """
g = graph(); add_alloc(g, 64 * MIB); must("cuGraphLaunch", executable(g), s); sync()
must("cuDevicePrimaryCtxReset_v2", 0); out(0)
""",
    )
    assert machine.device()["used_bytes"] == 0
