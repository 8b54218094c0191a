"""Graphs: nodes of every kind, edges, launches, and what belongs to a graph."""

from __future__ import annotations

from typing import Any

from simulated import Machine

START = "import ctypes\nfrom graph_work import *\nstart()\ns, t = stream(), stream()\nfunction()\n"


def run(machine: Machine, code: str) -> Any:
    return machine.run(START + code)


def test_a_graph_does_its_nodes_every_time_it_is_launched(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); first = add(g, kernel(1 * MS)); second = add(g, kernel(2 * MS), [first])
e = executable(g)
must("cuGraphDestroy", g)
out([measured(s, lambda: [must("cuGraphLaunch", e, s) for _ in range(3)]), call("cuGraphExecDestroy", e),
     call("cuGraphExecDestroy", e)])
""",
    ) == [9_000_000, 0, 1]
    (process,) = machine.device()["processes"]
    assert (process["kernels"], process["gpu_ns"]) == (7, 59_000_000)


def test_fills_and_copies_of_a_graph_change_memory_in_order(machine: Machine) -> None:
    assert (
        run(
            machine,
            """
_, a = alloc(4096); g = graph()
first = add(g, Fill(a, 0, 0x11, 1, 4096, 1)); add(g, Fill(a, 0, 0x2222, 2, 16, 1), [first])
back = ctypes.create_string_buffer(64)
must("cuGraphLaunch", executable(g), s); must("cuMemcpyDtoHAsync_v2", back, a, 64, s)
must("cuStreamSynchronize", s)
out(back.raw.hex())
""",
        )
        == "22" * 32 + "11" * 32
    )


def test_nodes_and_edges_can_be_asked_for_and_changed(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); a = add(g, kernel(1)); b = add(g, kernel(1)); c = add(g, kernel(1), [a])
counts = [count("cuGraphGetNodes", g), count("cuGraphGetRootNodes", g)]
counts += [count("cuGraphNodeGetDependencies", c)]
def edge(what, x, y):
    return call(what, g, nodes(x), nodes(y), 1)
codes = [edge("cuGraphAddDependencies", b, c), edge("cuGraphAddDependencies", b, c),
         edge("cuGraphAddDependencies", c, a), edge("cuGraphAddDependencies", a, a),
         edge("cuGraphRemoveDependencies", a, c), edge("cuGraphRemoveDependencies", a, c)]
deps = nodes(0, 0); n = size(2); must("cuGraphNodeGetDependencies", c, deps, ctypes.byref(n))
_, clone = new("cuGraphClone", g); _, same = new("cuGraphNodeFindInClone", c, clone)
kind = ctypes.c_int(-1); must("cuGraphNodeGetType", same, ctypes.byref(kind))
must("cuGraphDestroyNode", b)
out([counts, codes, list(deps) == [b, 0], n.value, same != c, kind.value, count("cuGraphGetNodes", g),
     count("cuGraphGetNodes", clone), new("cuGraphAddEmptyNode", g, nodes(b), 1)[0],
     call("cuGraphDestroy", g), call("cuGraphDestroy", g)])
""",
    ) == [[3, 2, 1], [0, 1, 1, 1, 0, 1], True, 1, True, 0, 2, 3, 1, 0, 1]


def test_a_child_graph_is_part_of_its_parent(machine: Machine) -> None:
    assert run(
        machine,
        """
child = graph(); add(child, kernel(2 * MS)); g = graph(); first = add(g, kernel(1 * MS))
_, node = new("cuGraphAddChildGraphNode", g, nodes(first), 1, child)
inner = u64(); must("cuGraphChildGraphNodeGetGraph", node, ctypes.byref(inner)); inner = inner.value
must("cuGraphDestroy", child); e = executable(g)
out([measured(s, lambda: must("cuGraphLaunch", e, s)), count("cuGraphGetNodes", inner),
     call("cuGraphDestroy", inner)])
""",
    ) == [3_000_000, 1, 1]


def test_a_graph_inside_itself_is_what_it_was_before(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); last = add(g, kernel(2 * MS)); seen = []
for _ in range(2):
    _, last = new("cuGraphAddChildGraphNode", g, nodes(last), 1, g)
    seen.append(measured(s, lambda: must("cuGraphLaunch", executable(g), s)))
out([seen, count("cuGraphGetNodes", g), call("cuGraphDestroy", g)])
""",
    ) == [[4_000_000, 8_000_000], 3, 0]


def test_a_conditional_node_does_the_body_that_its_default_chooses(machine: Machine) -> None:
    assert run(
        machine,
        """
def timed(value, kind, durations):
    g = graph(); first = add(g, kernel(1 * MS))
    node, bodies = add_condition(g, value, kind, len(durations), [first])
    for body, ns in zip(bodies, durations):
        add(body, kernel(ns * MS))
    add(g, kernel(1 * MS), [node]); return run_time(executable(g), s) // MS
IF, WHILE, SWITCH = 0, 1, 2
out([timed(1, IF, [10]), timed(0, IF, [10]), timed(1, IF, [10, 20]), timed(0, IF, [10, 20]), timed(5, WHILE,
    [10]),
     timed(0, WHILE, [10]), [timed(v, SWITCH, [10, 20, 30]) for v in range(4)]])
""",
    ) == [12, 2, 12, 22, 12, 2, [12, 22, 32, 2]]


def test_conditional_handles_and_bodies_have_their_rules(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); handle = new("cuGraphConditionalHandleCreate", g, None, 1, 1)[1]
def condition(where, kind, count, h=handle):
    what = params("condition", Condition(h, kind, count)); code, node = try_add(where, what)
    return code, node, what
codes = [new("cuGraphInstantiateWithFlags", g, 0)[0], condition(g, 0, 3)[0], condition(g, 1, 2)[0],
    condition(g, 3, 1)[0],
         condition(g, 0, 0)[0], condition(graph(), 0, 1)[0]]
code, node, what = condition(g, 0, 1); body = what.u.condition.bodies[0]
codes += [code, condition(g, 0, 1)[0], new("cuGraphClone", g)[0], new("cuGraphAddChildGraphNode", graph(),
    None, 0, g)[0],
          call("cuGraphDestroy", body), try_add(body, params("alloc", Alloc(type=1, location=Location(1, 0),
              bytes=9)))[0]]
add(body, kernel(3 * MS)); inner = new("cuGraphConditionalHandleCreate", g, None, 0, 1)[1]
code, _, deep = condition(body, 0, 2, inner); add(deep.u.condition.bodies[1], kernel(4 * MS))
e = executable(g)
codes += [code, run_time(e, s), new("cuGraphInstantiateWithFlags", g, 0)[0]]
new("cuGraphAddHostNode", body, None, 0, ctypes.byref(Host(1, 0))); must("cuGraphExecDestroy", e)
codes.append(new("cuGraphInstantiateWithFlags", g, 0)[0])
out(codes)
""",
    ) == [1, 1, 1, 1, 1, 1, 0, 1, 801, 801, 1, 1, 0, 4_000_000, 801, 801]


def test_batches_of_memory_operations_are_nodes(machine: Machine) -> None:
    assert run(
        machine,
        """
_, a = alloc(64); ops = (Operation * 3)(Operation(2, a, 7), Operation(5, a + 8, 1 << 40), Operation(6))
made = Batch(0, 3, ctypes.addressof(ops), 0); g = graph()
code, node = new("cuGraphAddBatchMemOpNode", g, None, 0, ctypes.byref(made)); ops[0].value = 99
e = executable(g); must("cuGraphLaunch", e, s); sync(); first = from_device(a, 16)[1].hex()
read = Batch(); must("cuGraphBatchMemOpNodeGetParams", node, ctypes.byref(read))
op = ctypes.cast(read.operations, ctypes.POINTER(Operation))[0]
codes = [code, read.count, op.value, call("cuGraphExecBatchMemOpNodeSetParams", e, node, ctypes.byref(made))]
made.count = 2; codes.append(call("cuGraphExecBatchMemOpNodeSetParams", e, node, ctypes.byref(made)))
must("cuGraphLaunch", e, s); sync(); codes.append(from_device(a, 1)[1][0])
ops[0].operation = 77; codes.append(new("cuGraphAddBatchMemOpNode", g, None, 0, ctypes.byref(made))[0])
h = captured(s, lambda: must("cuStreamWriteValue32_v2", s, a, 42, 0))
must("cuGraphLaunch", executable(h), s); sync()
out([first, codes, from_device(a, 1)[1][0]])
""",
    ) == ["07000000000000000000000000010000", [0, 3, 7, 0, 1, 99, 1], 42]


def test_host_nodes_run_in_their_place(machine: Machine) -> None:
    assert run(
        machine,
        """
seen = []; tell_ = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda p: seen.append(p))
where = ctypes.cast(tell_, ctypes.c_void_p).value
g = graph(); a = add(g, Host(where, 1)); b = add(g, kernel(1 * MS), [a]); add(g, Host(where, 2), [b])
e = executable(g); must("cuGraphLaunch", e, s); must("cuGraphLaunch", e, s); must("cuStreamSynchronize", s)
read = Host(); must("cuGraphHostNodeGetParams", a, ctypes.byref(read))
out([seen, read.argument, try_add(g, Host(0, 0))[0]])
""",
    ) == [[1, 2, 1, 2], 1, 1]


def test_edges_carry_data_that_only_some_questions_may_leave_out(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); a = add(g, kernel(1 * MS)); b = add(g, kernel(1 * MS)); c = add(g, None)
def edge(x, y, port=0, kind=0, name="cuGraphAddDependencies_v2"):
    return call(name, g, nodes(x), nodes(y), (Edge * 1)(Edge(port, 0, kind)), 1)
codes = [edge(a, b, 1, 1), edge(a, c, 0, 1), edge(a, c, 3, 1), edge(c, b, 1, 1), edge(a, c, 2, 0)]
n = size(9); from_, to, data = nodes(*[0] * 9), nodes(*[0] * 9), (Edge * 9)()
codes += [call("cuGraphGetEdges", g, from_, to, ctypes.byref(n)), call("cuGraphGetEdges", g, None, None,
    ctypes.byref(n))]
n.value = 9; must("cuGraphGetEdges_v2", g, from_, to, data, ctypes.byref(n))
found = [[x.port, x.type] for x in data[:n.value]]
codes += [call("cuGraphNodeGetDependencies", b, from_, ctypes.byref(n)),
          call("cuGraphNodeGetDependentNodes_v2", a, to, data, ctypes.byref(n)), n.value,
          edge(a, b, name="cuGraphRemoveDependencies_v2"), edge(a, b, 1, 1,
              name="cuGraphRemoveDependencies_v2")]
out([codes, found, run_time(executable(g), s)])
""",
    ) == [[0, 1, 1, 1, 0, 402, 0, 402, 0, 2, 1, 0], [[1, 1], [2, 0]], 1_000_000]


def test_instantiation_says_why_it_fails(machine: Machine) -> None:
    assert run(
        machine,
        """
class With(ctypes.Structure):
    _fields_ = [("flags", u64), ("stream", u64), ("node", u64), ("result", ctypes.c_int)]
def why(g, flags):
    w = With(flags, 0, 99, 99); code, e = new("cuGraphInstantiateWithParams", g, ctypes.byref(w))
    return [code, w.result, w.node]
g = graph(); add(g, kernel(1)); wrong = graph(); add(wrong, kernel(1)); bad = add(wrong, Host(1, 0))
answers = [why(g, 4), why(wrong, 4), why(graph(), 4), why(g, 5), why(g, 16), why(wrong, 0)]
answers[1][2] = answers[1][2] == bad
e = executable(g, 9); flags = u64(); must("cuGraphExecGetFlags", e, ctypes.byref(flags))
must("cuGraphLaunch", executable(g, 4), s); sync()
out([answers, flags.value, [new("cuGraphInstantiateWithFlags", g, f)[0] for f in (2, 5, 16)],
     call("cuGraphInstantiateWithParams", ctypes.byref(u64()), g, None)])
""",
    ) == [
        [[0, 0, 0], [801, 3, True], [1, 2, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]],
        9,
        [1, 1, 1],
        1,
    ]


def test_user_objects_live_as_long_as_anybody_refers_to_them(machine: Machine) -> None:
    assert run(
        machine,
        """
gone = []; destroy = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda p: gone.append(p))
def made(n, count=1):
    return new("cuUserObjectCreate", ctypes.c_void_p(n), destroy, count, 1)[1]
a, b, c, d = made(1), made(2, 2), made(3), made(4)
must("cuUserObjectRetain", a, 2)
codes = [call("cuUserObjectRelease", a, 4), call("cuUserObjectRelease", a, 3), list(gone)]
g = graph(); must("cuGraphRetainUserObject", g, b, 2, 1); must("cuGraphRetainUserObject", g, c, 1, 0)
must("cuUserObjectRelease", c, 1)
codes += [call("cuGraphReleaseUserObject", g, c, 2), call("cuGraphReleaseUserObject", g, c, 1)]
codes.append(list(gone)); _, clone = new("cuGraphClone", g); must("cuGraphDestroy", g)
codes.append(list(gone))
e = executable(clone); must("cuGraphDestroy", clone); codes.append(list(gone)); must("cuGraphExecDestroy", e)
codes.append(list(gone))
h = graph(); add(h, kernel(300 * MS)); must("cuGraphRetainUserObject", h, d, 1, 1); e = executable(h)
must("cuGraphDestroy", h)
must("cuGraphLaunch", e, s); must("cuGraphExecDestroy", e); codes += [4 in gone, call("cuGraphLaunch", e, s)]
must("cuCtxSynchronize"); codes += [4 in gone, new("cuUserObjectCreate", None, destroy, 1, 0)[0],
    new("cuUserObjectCreate", None, destroy, 0, 1)[0], new("cuUserObjectCreate", None, None, 1, 1)[0]]
out(codes)
""",
    ) == [1, 0, [1], 1, 0, [1, 3], [1, 3], [1, 3], [1, 3, 2], False, 1, True, 1, 1, 1]


def test_graphs_and_nodes_have_names_of_their_own(machine: Machine) -> None:
    assert run(
        machine,
        """
def ask(name, handle, kind=u64):
    value = kind(); must(name, handle, ctypes.byref(value)); return value.value
g, h = graph(), graph(); a, b, c = add(g, None), add(g, None), add(h, None)
e = executable(g); ids = [ask("cuGraphGetId", g), ask("cuGraphGetId", h), ask("cuGraphExecGetId", e)]
local = [ask("cuGraphNodeGetLocalId", n, ctypes.c_uint) for n in (a, b, c)]
tools = {ask("cuGraphNodeGetToolsId", n) for n in (a, b, c)}
out([len(set(ids)), local, len(tools), ask("cuGraphNodeGetContainingGraph", b) == g, call("cuGraphGetId", 0,
    None)])
""",
    ) == [3, [0, 1, 0], 3, True, 1]


def test_a_dot_file_shows_nodes_and_edges(machine: Machine, tmp_path: Any) -> None:
    path = tmp_path / "graph.dot"
    codes = run(
        machine,
        f"""
child = graph(); add(child, kernel(1)); g = graph(); a = add(g, kernel(1)); b = add(g, None, [a])
new("cuGraphAddChildGraphNode", g, nodes(b), 1, child)
out([call("cuGraphDebugDotPrint", g, {str(path)!r}.encode(), 1), call("cuGraphDebugDotPrint", g,
    b"/nowhere/x", 0),
     call("cuGraphDebugDotPrint", g, None, 0)])
""",
    )
    text = path.read_text()
    assert codes == [0, 304, 1]
    assert text.startswith("digraph")
    assert (text.count("->"), text.count("spin")) == (2, 2)
    assert text.count("{") == text.count("}") == 3


def test_any_node_can_be_read_as_it_was_made(machine: Machine) -> None:
    assert run(
        machine,
        """
_, a = alloc(4096); g = graph(); m, p = add_alloc(g, 4096); f = try_free(g, p, [m])[1]
c, bodies = add_condition(g, 1, 2, 3); k = add(g, kernel(5)); x = event()
w = new("cuGraphAddEventWaitNode", g, None, 0, x)[1]
def read(node):
    value = Params(type=99); must("cuGraphNodeGetParams", node, ctypes.byref(value)); return value
r = read(c).u.condition
out([read(k).type, read(k).u.kernel.grid[0], read(m).u.alloc.bytes, read(f).u.free == p, r.kind, r.size,
     r.bodies[:3] == bodies, read(w).u.event == x, call("cuGraphNodeGetParams", k, None)])
""",
    ) == [0, 1, 4096, True, 2, 3, True, True, 1]
