"""Graphs and stream capture: nodes, order, launches, and the errors that end a capture."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import Machine

GRAPH = """
import ctypes
class Kernel(ctypes.Structure):
    _fields_ = [("function", u64), ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3),
                ("shared", ctypes.c_uint), ("params", ctypes.c_void_p), ("extra", ctypes.c_void_p),
                ("kernel", u64), ("context", u64)]
class Fill(ctypes.Structure):
    _fields_ = [("destination", u64), ("pitch", size), ("value", ctypes.c_uint), ("element", ctypes.c_uint),
                ("width", size), ("height", size)]
def kernel(ns):
    value = u64(ns)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    made = Kernel(function(), (1, 1, 1), (1, 1, 1), 0, ctypes.cast(params, ctypes.c_void_p), None, 0, 0)
    made.keep = value, params
    return made
def nodes(*handles):
    return (u64 * len(handles))(*handles)
def graph():
    return new("cuGraphCreate", 0)[1]
def add(g, what, before=()):
    name = "cuGraphAddKernelNode_v2" if isinstance(what, Kernel) else "cuGraphAddMemsetNode"
    more = () if isinstance(what, Kernel) else (None,)
    code, node = new(name, g, nodes(*before), len(before), ctypes.byref(what), *more)
    assert code == 0, code
    return node
def count(name, handle):
    n = size()
    must(name, handle, None, ctypes.byref(n))
    return n.value
def executable(g):
    code, e = new("cuGraphInstantiateWithFlags", g, 0)
    assert code == 0, code
    return e
def measured(s, work):
    a, b = event(), event()
    spin(50 * MS, s)  # all is queued before it ends, so that the host's time does not count
    record(a, s); work(); record(b, s); must("cuStreamSynchronize", s)
    return elapsed_ns(a, b)
def begin(s, mode=0):
    return call("cuStreamBeginCapture_v2", s, mode)
def end(s):
    g = u64(99)
    return call("cuStreamEndCapture", s, ctypes.byref(g)), g.value
def status(s):
    found = ctypes.c_int(-1)
    return call("cuStreamIsCapturing", s, ctypes.byref(found)), found.value
start()
s, t = stream(), stream()
function()
"""
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NONE, ACTIVE, INVALIDATED = 0, 1, 2


def run(machine: Machine, code: str) -> Any:
    return machine.run(GRAPH + code)


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


def test_parameters_are_those_of_the_time_when_they_were_given(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); k = kernel(1 * MS); node = add(g, k); k.keep[0].value = 50 * MS
e = executable(g); launch = lambda: must("cuGraphLaunch", e, s)
times = [measured(s, launch)]
must("cuGraphExecKernelNodeSetParams_v2", e, node, ctypes.byref(kernel(3 * MS)))
times.append(measured(s, launch))
must("cuGraphKernelNodeSetParams_v2", node, ctypes.byref(kernel(4 * MS)))
times.append(measured(s, launch))
info = (u64 * 3)(); must("cuGraphExecUpdate_v2", e, g, info); times.append(measured(s, launch))
must("cuGraphNodeSetEnabled", e, node, 0); times.append(measured(s, launch))
read = Kernel(); must("cuGraphKernelNodeGetParams_v2", node, ctypes.byref(read))
value = ctypes.cast(read.params, ctypes.POINTER(ctypes.c_void_p))[0]
out([times, ctypes.cast(value, ctypes.POINTER(u64))[0]])
""",
    ) == [[1_000_000, 3_000_000, 3_000_000, 4_000_000, 0], 4_000_000]


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


def test_a_captured_stream_does_nothing_until_its_graph_is_launched(machine: Machine) -> None:
    assert run(
        machine,
        """
states = [begin(s), status(s)]
spin(1 * MS, s); spin(2 * MS, s)
code, g = end(s); states += [code, status(s)]
must("cuStreamSynchronize", s); e = executable(g)
out([states, count("cuGraphGetNodes", g), count("cuGraphGetRootNodes", g),
     measured(s, lambda: must("cuGraphLaunch", e, s))])
""",
    ) == [[0, [0, ACTIVE], 0, [0, NONE]], 2, 1, 3_000_000]


def test_other_streams_join_by_events_and_must_come_back(machine: Machine) -> None:
    code = """
fork, back = event(), event()
begin(s); spin(1 * MS, s); record(fork, s); must("cuStreamWaitEvent", t, fork, 0); state = status(t)
spin(1 * MS, t); spin(1 * MS, s); record(back, t)
"""
    joined = (
        code
        + """
must("cuStreamWaitEvent", s, back, 0); spin(1 * MS, s); code, g = end(s)
out([state, code, count("cuGraphGetNodes", g), status(t), call("cuEventQuery", back)])
"""
    )
    assert run(machine, joined) == [[0, ACTIVE], 0, 4, [0, NONE], 907]
    assert run(machine, code + "out([end(t), end(s), status(s), status(t)])") == [
        [903, 99],
        [901, 0],
        [0, NONE],
        [0, NONE],
    ]
    assert run(machine, code + "out([end(s), status(t)])") == [[904, 0], [0, NONE]]


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ('call("cuStreamSynchronize", s)', 900),
        ('call("cuStreamQuery", s)', 900),
        ('call("cuStreamWaitEvent", s, outside, 0)', 905),
        ('[record(mark, s), call("cuEventQuery", mark)][1]', 907),
        ('[record(mark, s), call("cuEventSynchronize", mark)][1]', 907),
    ],
)
def test_a_capture_refuses_to_be_waited_for(what: str, code: int, machine: Machine) -> None:
    got, ended, after = run(
        machine,
        f"""
outside, mark = event(), event(); record(outside, t); begin(s, 2); spin(1, s)
got = {what}; ended = end(s)
out([got, ended[0], call("cuStreamSynchronize", s)])
""",
    )
    assert (got, after) == (code, 0)
    assert ended == (0 if code == 907 else 901)


def test_unsafe_calls_end_a_capture_as_its_mode_says(machine: Machine) -> None:
    answers = run(
        machine,
        """
done = event(); record(done, t); must("cuStreamSynchronize", t); context = new("cuCtxGetCurrent")[1]
unsafe = [lambda: alloc(4096)[0], lambda: call("cuEventQuery", done), lambda: call("cuStreamSynchronize", t),
          lambda: call("cuCtxSynchronize")]
def elsewhere(what, codes):
    must("cuCtxSetCurrent", context); codes.append(what())
answers = []
for what in unsafe:
    for mode in (0, 1, 2):
        for other_thread in (False, True):
            codes = []
            must("cuStreamBeginCapture_v2", s, mode); spin(1, s)
            if other_thread:
                thread = threading.Thread(target=elsewhere, args=(what, codes)); thread.start(); thread.join()
            else:
                codes.append(what())
            answers.append([mode, other_thread, codes[0], end(s)[0]])
out(answers)
""",
    )
    for mode, other_thread, code, ended in answers:
        refused = mode == GLOBAL or (mode == THREAD_LOCAL and not other_thread)
        assert (mode, other_thread, code, ended) == (mode, other_thread, *((900, 901) if refused else (0, 0)))


def test_a_thread_may_relax_its_own_mode(machine: Machine) -> None:
    assert run(
        machine,
        """
begin(s, 0); mode = ctypes.c_int(2); must("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
code = alloc(4096)[0]; before = mode.value
must("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
wrong = call("cuThreadExchangeStreamCaptureMode", ctypes.byref(ctypes.c_int(3)))
out([before, code, mode.value, end(s)[0], wrong])
""",
    ) == [0, 0, 2, 0, 1]


def test_the_legacy_stream_cannot_be_used_beside_a_capture_in_a_blocking_stream(machine: Machine) -> None:
    assert run(
        machine,
        """
blocking = stream(0); codes = [begin(0), begin(blocking), begin(blocking), status(0)[0]]
codes += [launch(1, 0), end(blocking)[0]]
codes += [begin(s), launch(1, 0), end(s)[0], begin(s, 3), end(s)[0]]
out(codes)
""",
    ) == [900, 0, 401, 906, 906, 901, 0, 0, 0, 1, 401]


def test_only_the_thread_that_began_may_end_unless_relaxed(machine: Machine) -> None:
    code = """
begin(s, {mode}); codes = []
thread = threading.Thread(target=lambda: codes.append(end(s)[0])); thread.start(); thread.join()
out([codes[0], end(s)[0]])
"""
    assert run(machine, code.format(mode=GLOBAL)) == [908, 0]
    assert run(machine, code.format(mode=RELAXED)) == [0, 401]


def test_events_of_a_graph_are_recorded_when_it_runs(machine: Machine) -> None:
    assert run(
        machine,
        """
a, b = event(), event(); begin(s); must("cuEventRecordWithFlags", a, s, 1); spin(5 * MS, s)
must("cuEventRecordWithFlags", b, s, 1); _, g = end(s)
e = executable(g); spin(50 * MS, s); must("cuGraphLaunch", e, s); must("cuStreamSynchronize", s)
out([count("cuGraphGetNodes", g), elapsed_ns(a, b)])
""",
    ) == [3, 5_000_000]


def test_a_capture_ends_with_the_stream_it_began_in(machine: Machine) -> None:
    assert run(
        machine,
        """
fork = event(); begin(s); record(fork, s); must("cuStreamWaitEvent", t, fork, 0)
must("cuStreamDestroy_v2", s)
codes = [status(t), alloc(4096)[0]]
begin(t); record(fork, t); u = stream(); must("cuStreamWaitEvent", u, fork, 0)
must("cuStreamDestroy_v2", u)
out([*codes, status(t), end(t)[0], status(t)])
""",
    ) == [[0, NONE], 0, [0, INVALIDATED], 901, [0, NONE]]
