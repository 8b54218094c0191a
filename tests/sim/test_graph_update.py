"""Changing executable graphs: node by node, and all at once from another graph."""

from __future__ import annotations

from typing import Any

from simulated import Machine

START = "import ctypes\nfrom graph_work import *\nstart()\ns, t = stream(), stream()\nfunction()\n"


def run(machine: Machine, code: str) -> Any:
    return machine.run(START + code)


def test_parameters_are_those_of_the_time_when_they_were_given(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); k = kernel(1 * MS); node = add(g, k); k.keep[0].value = 50 * MS
e = executable(g); times = [run_time(e, s)]
must("cuGraphExecKernelNodeSetParams_v2", e, node, ctypes.byref(kernel(3 * MS))); times.append(run_time(e, s))
must("cuGraphKernelNodeSetParams_v2", node, ctypes.byref(kernel(4 * MS))); times.append(run_time(e, s))
must("cuGraphExecUpdate_v2", e, g, (u64 * 3)()); times.append(run_time(e, s))
must("cuGraphNodeSetEnabled", e, node, 0); times.append(run_time(e, s))
on = ctypes.c_uint(9); must("cuGraphNodeGetEnabled", e, node, ctypes.byref(on))
must("cuGraphNodeSetEnabled", e, node, 1); times.append(run_time(e, s))
read = Kernel(); must("cuGraphKernelNodeGetParams_v2", node, ctypes.byref(read))
value = ctypes.cast(read.params, ctypes.POINTER(ctypes.c_void_p))[0]
out([times, on.value, ctypes.cast(value, ctypes.POINTER(u64))[0]])
""",
    ) == [[1_000_000, 3_000_000, 3_000_000, 4_000_000, 0, 4_000_000], 0, 4_000_000]


def test_an_update_says_what_differs_and_changes_nothing_then(machine: Machine) -> None:
    got = run(
        machine,
        """
_, a = alloc(8192); _, b = alloc(8192); host = new("cuMemHostAlloc", 8192, 0)[1]
def make(second, first=1, extra=False, cut=False):
    g = graph(); x = add(g, kernel(first * MS)); y = add(g, second, [] if cut else [x])
    if extra:
        add(g, None)
    return g, x, y
def compare(one, other, **more):
    e = executable(make(one)[0]); g, x, y = make(other, first=7, **more)
    code, why, node, before = update(e, g)
    return [code, why, {0: None, x: "first", y: "second"}[node], before == x, run_time(e, s) // MS]
line = lambda p, n: Fill(p, 0, 1, 1, n, 1)
box = lambda n: Fill(a, 512, 1, 1, n, 4)
out([compare(kernel(1 * MS), kernel(2 * MS)), compare(kernel(1), kernel(1), extra=True),
     compare(kernel(1), kernel(1), cut=True), compare(kernel(1), None),
     compare(line(a, 100), line(b, 50)), compare(box(8), box(9)), compare(line(a, 1), box(1)),
     compare(copy(a, DEVICE, b, DEVICE, 64), copy(b, DEVICE, a, DEVICE, 32)),
     compare(copy(a, DEVICE, b, DEVICE, 64), copy(host, HOST, b, DEVICE, 64))])
""",
    )
    fine, topology, cut, kind, fill, box, flat, copy, side = got
    assert fine == [0, 0, None, False, 9]
    assert topology == [910, 2, None, False, 1]
    assert (cut[:2], cut[4]) == ([910, 2], 1)
    assert kind == [910, 3, "second", False, 1]
    assert (fill[:3], fill[4]) == ([0, 0, None], 7)
    assert box == [910, 5, "second", False, 1]
    assert flat == [910, 5, "second", False, 1]
    assert copy[:3] == [0, 0, None]
    assert side == [910, 5, "second", False, 1]


def test_nodes_are_paired_along_their_edges_not_by_their_age(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); a = add(g, kernel(1 * MS)); b = add(g, kernel(2 * MS), [a]); c = add(g, kernel(3 * MS), [b])
h = graph(); z = add(h, kernel(30 * MS)); y = add(h, kernel(20 * MS)); x = add(h, kernel(10 * MS))
must("cuGraphAddDependencies", h, nodes(x, y), nodes(y, z), 2)
e = executable(g); answer = update(e, h)
must("cuGraphNodeSetEnabled", e, a, 0); without = run_time(e, s)
k = graph(); r = add(k, kernel(1)); q = add(k, kernel(1), [r]); p = add(k, kernel(1), [r])
wrong = update(e, k)
out([answer, without, wrong[:2], wrong[2] in (p, q)])
""",
    ) == [[0, 0, 0, 0], 50_000_000, [910, 2], True]


def test_the_edge_at_fault_is_named(machine: Machine) -> None:
    assert run(
        machine,
        """
def make(crossed):
    g = graph(); a = add(g, None); b = add(g, kernel(1)); c = add(g, None, [a, b])
    d = add(g, None, [b, a] if crossed else [a, b])
    return g, a, b, d
g, *_ = make(False); h, a, b, d = make(True)
code, why, node, before = update(executable(g), h)
out([code, why, node == d, before in (a, b)])
""",
    ) == [910, 2, True, True]


def test_attributes_that_count_may_not_change(machine: Machine) -> None:
    assert run(
        machine,
        """
def make(attribute, value):
    g = graph(); node = add(g, kernel(1)); v = (ctypes.c_int * 16)(value)
    must("cuGraphKernelNodeSetAttribute", node, attribute, v); return g, node
plain, together, first = make(8, 0), make(2, 1), make(8, -3)
e, own = executable(plain[0]), executable(plain[0], 8)
read = (ctypes.c_int * 16)(); must("cuGraphKernelNodeGetAttribute", together[1], 2, read); values = [read[0]]
must("cuGraphKernelNodeCopyAttributes", plain[1], first[1])
must("cuGraphKernelNodeGetAttribute", plain[1], 8, read); values.append(read[0])
codes = [call("cuGraphKernelNodeSetAttribute", plain[1], 3, read), call("cuGraphKernelNodeGetAttribute",
    plain[1], 99, read),
         call("cuGraphKernelNodeSetAttribute", add(plain[0], None), 8, read)]
out([update(e, together[0])[:2], update(e, first[0])[:2], update(own, first[0])[:2], values, codes])
""",
    ) == [[910, 8], [0, 0], [910, 8], [1, -3], [1, 1, 400]]


def test_what_single_nodes_of_an_executable_graph_take(machine: Machine) -> None:
    assert run(
        machine,
        """
_, a = alloc(8192); _, b = alloc(8192); host = new("cuMemHostAlloc", 8192, 0)[1]
g = graph(); k = add(g, kernel(1)); c = add(g, copy(a, DEVICE, b, DEVICE, 64))
f = add(g, Fill(a, 512, 1, 1, 8, 4))
e = executable(g); foreign = add(graph(), kernel(1))
def set_copy(what, node=c):
    return call("cuGraphExecMemcpyNodeSetParams", e, node, ctypes.byref(what), None)
def set_fill(what, node=f):
    return call("cuGraphExecMemsetNodeSetParams", e, node, ctypes.byref(what), None)
square = copy(a, DEVICE, b, DEVICE, 64); square.height = 2; square.source_pitch = square.target_pitch = 128
codes = [set_copy(copy(b, DEVICE, a, DEVICE, 128)), set_copy(copy(host, HOST, a, DEVICE, 64)),
    set_copy(square),
         set_copy(square, k), set_fill(Fill(b, 512, 2, 1, 8, 4)), set_fill(Fill(a, 512, 1, 1, 9, 4)),
         call("cuGraphExecKernelNodeSetParams_v2", e, foreign, ctypes.byref(kernel(1))),
         call("cuGraphExecKernelNodeSetParams_v2", e, c, ctypes.byref(kernel(1))),
         call("cuGraphExecNodeSetParams", e, k, ctypes.byref(params("kernel", kernel(2 * MS)))),
         call("cuGraphExecNodeSetParams", e, k, None), call("cuGraphExecNodeSetParams", e, k,
             ctypes.byref(params("empty"))),
         call("cuGraphNodeSetEnabled", e, add(g, None), 1)]
must("cuGraphDestroy", g); codes.append(call("cuGraphNodeSetEnabled", e, k, 1))
out(codes)
""",
    ) == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1]


def test_children_are_updated_with_their_parent_or_alone(machine: Machine) -> None:
    assert run(
        machine,
        """
def make(ns, more=False):
    child = graph(); x = add(child, kernel(ns * MS))
    if more:
        add(child, kernel(1), [x])
    g = graph(); top = add(g, kernel(1 * MS))
    return g, new("cuGraphAddChildGraphNode", g, nodes(top), 1, child)[1], child
g, node, child = make(2); e = executable(g); times = [run_time(e, s)]
codes = [update(e, make(5)[0])]; times.append(run_time(e, s)); codes.append(update(e, make(5, True)[0])[:2])
codes.append(call("cuGraphExecChildGraphNodeSetParams", e, node, make(8)[2])); times.append(run_time(e, s))
codes.append(call("cuGraphExecChildGraphNodeSetParams", e, node, make(8, True)[2]))
inner = u64(); must("cuGraphChildGraphNodeGetGraph", node, ctypes.byref(inner)); one = nodes(0)
must("cuGraphGetNodes", inner, one, ctypes.byref(size(1)))
must("cuGraphExecKernelNodeSetParams_v2", e, one[0], ctypes.byref(kernel(4 * MS)))
times.append(run_time(e, s))
out([times, codes])
""",
    ) == [[3_000_000, 6_000_000, 9_000_000, 5_000_000], [[0, 0, 0, 0], [910, 2], 0, 1]]


def test_memory_nodes_keep_an_executable_graph_to_its_addresses(machine: Machine) -> None:
    assert run(
        machine,
        """
def make():
    g = graph(); node, p = add_alloc(g, 4096); add(g, kernel(1), [node]); return g, node
(g, _), (h, alloc_node) = make(), make(); e = executable(g)
out([update(e, g), update(e, h)[:2], update(e, h)[2] == alloc_node])
""",
    ) == [[0, 0, 0, 0], [910, 6], True]


def test_bad_handles_make_an_update_fail(machine: Machine) -> None:
    assert run(
        machine,
        """
g, h = graph(), graph(); e, f = executable(g), executable(h); must("cuGraphDestroy", g)
must("cuGraphExecDestroy", f)
out([update(e, g)[:2], update(f, h)[:2], call("cuGraphExecUpdate_v2", e, h, None)])
""",
    ) == [[1, 1], [1, 1], 0]
