"""Stream capture: what becomes of work and calls, in the three modes, and the errors that end a capture."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import Machine

START = "import ctypes\nfrom graph_work import *\nstart()\ns, t = stream(), stream()\nfunction()\n"
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NONE, ACTIVE, INVALIDATED = 0, 1, 2


def run(machine: Machine, code: str) -> Any:
    return machine.run(START + code)


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
    assert ended == 901


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


@pytest.mark.parametrize(
    "use",
    [
        "new('cuMemAllocAsync', 4096, 0)[0]",
        "new('cuMemAllocFromPoolAsync', 4096, pool, 0)[0]",
        "call('cuMemFreeAsync', ordered, 0)",
        "call('cuMemFreeAsync', linear, 0)",
    ],
)
def test_nor_for_memory(machine: Machine, use: str) -> None:
    assert run(
        machine,
        f"""
pool = new("cuDeviceGetDefaultMemPool", 0)[1]; linear = alloc(4096)[1]
ordered = new("cuMemAllocAsync", 4096, s)[1]; blocking = stream(0)
begin(s); codes = [{use.replace("linear", "alloc(0)[1]")}, end(s)[0]]
begin(blocking); codes += [{use}, end(blocking)[0]]
out(codes)
""",
    )[-2:] == [906, 901]


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
begin(t); record(fork, t); u = stream(); must("cuStreamWaitEvent", u, fork, 0); spin(1 * MS, u)
must("cuStreamDestroy_v2", u)
out([*codes, status(t), end(t)[0], status(t)])
""",
    ) == [[0, NONE], 0, [0, INVALIDATED], 901, [0, NONE]]


def test_a_stream_that_was_joined_may_go(machine: Machine) -> None:
    assert run(
        machine,
        """
fork, join = event(), event(); begin(s); record(fork, s); must("cuStreamWaitEvent", t, fork, 0)
spin(1 * MS, t); record(join, t); must("cuStreamWaitEvent", s, join, 0); must("cuStreamDestroy_v2", t)
spin(1 * MS, s); found = status(s); code, g = end(s)
out([found, code, count("cuGraphGetNodes", g)])
""",
    ) == [[0, ACTIVE], 0, 2]


def test_a_graph_launched_in_a_capture_becomes_a_child(machine: Machine) -> None:
    assert run(
        machine,
        """
inner = executable(captured(s, lambda: [spin(1 * MS, s), spin(2 * MS, s)]))
g = captured(s, lambda: [spin(1 * MS, s), must("cuGraphLaunch", inner, s), spin(1 * MS, s)])
must("cuGraphExecDestroy", inner); time = run_time(executable(g), t)
m = graph(); add_alloc(m, 4096); held = executable(m); begin(s)
out([count("cuGraphGetNodes", g), time, call("cuGraphLaunch", held, s), end(s)[0]])
""",
    ) == [3, 5_000_000, 900, 901]


def test_a_question_about_a_captured_event_ends_the_capture(machine: Machine) -> None:
    assert run(
        machine,
        """
a, b = event(), event(); begin(s); record(a, s); spin(1, s); record(b, s)
ms = ctypes.c_float(); codes = [call("cuEventElapsedTime", ctypes.byref(ms), a, b), status(s), end(s)[0]]
codes += [call("cuEventQuery", a)]; record(a, s); must("cuStreamSynchronize", s)
codes.append(call("cuEventQuery", a))
out(codes)
""",
    ) == [907, [0, INVALIDATED], 901, 907, 0]


def test_external_events_belong_to_captures_alone(machine: Machine) -> None:
    assert run(
        machine,
        """
a = event(); codes = [call("cuEventRecordWithFlags", a, s, 1), call("cuStreamWaitEvent", s, a, 1)]
record(a, t); begin(s); codes += [call("cuStreamWaitEvent", s, a, 1), call("cuEventRecordWithFlags", a, s, 1)]
codes += [call("cuEventRecordWithFlags", a, s, 2)]; code, g = end(s); one = nodes(0, 0); n = size(2)
must("cuGraphGetNodes", g, one, ctypes.byref(n)); kind = ctypes.c_int(); kinds = []
for node in one:
    must("cuGraphNodeGetType", node, ctypes.byref(kind)); kinds.append(kind.value)
out([codes, code, kinds, call("cuEventQuery", a) in (0, 600)])
""",
    ) == [[1, 1, 0, 0, 1], 0, [6, 7], True]


def test_two_captures_cannot_be_merged(machine: Machine) -> None:
    assert run(
        machine,
        """
a = event(); begin(s); spin(1, s); record(a, s); begin(t); spin(1, t)
out([call("cuStreamWaitEvent", t, a, 0), status(s), status(t), end(s)[0], end(t)[0], launch(1, s), launch(1,
    t)])
""",
    ) == [902, [0, INVALIDATED], [0, INVALIDATED], 901, 901, 0, 0]


def test_an_invalid_capture_takes_nothing_and_ends_without_a_graph(machine: Machine) -> None:
    assert run(
        machine,
        """
begin(s); spin(1, s); call("cuStreamSynchronize", s)
out([launch(1, s), call("cuMemsetD8Async", alloc(64)[1], 0, 64, s), status(s), new("cuMemAllocAsync", 64,
    s)[0],
     call("cuStreamBeginCapture_v2", s, 0), end(s), status(s)])
""",
    ) == [901, 901, [0, INVALIDATED], 901, 401, [901, 0], [0, NONE]]


def test_work_is_captured_into_a_graph_that_exists(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); a = add(g, kernel(1 * MS)); b = add(g, kernel(2 * MS)); other = add(graph(), None)
def into(before, data=None):
    return call("cuStreamBeginCaptureToGraph", s, g, nodes(*before), data, len(before), 0)
codes = [into([other]), into([a, b])]; codes.append(call("cuGraphDestroy", g)); spin(3 * MS, s)
codes += [call("cuGraphDestroyNode", a), status(s)]; code, same = end(s)
out([codes, code, same == g, count("cuGraphGetNodes", g), run_time(executable(g), t)])
""",
    ) == [[1, 0, 1, 1, [0, ACTIVE]], 0, True, 3, 5_000_000]


def test_a_capture_tells_where_it_is_and_can_be_led_elsewhere(machine: Machine) -> None:
    assert run(
        machine,
        """
begin(s); spin(1 * MS, s); spin(2 * MS, s)
def info(with_data=True):
    state, id_, g, n = ctypes.c_int(), u64(), u64(), size()
    at, data = ctypes.POINTER(u64)(), ctypes.POINTER(Edge)()
    code = call("cuStreamGetCaptureInfo_v3", s, *map(ctypes.byref, (state, id_, g, at)),
                ctypes.byref(data) if with_data else None, ctypes.byref(n))
    ports = [data[i].port for i in range(n.value)] if with_data else []
    return code, state.value, id_.value, g.value, [at[i] for i in range(n.value)], ports
code, state, id_, g, before, ports = info()
own = add(g, kernel(4 * MS)); answers = [code, state, id_ > 0, len(before), ports]
answers.append(call("cuStreamUpdateCaptureDependencies", s, nodes(own), 1, 0)); answers.append(len(info()[4]))
answers.append(call("cuStreamUpdateCaptureDependencies_v2", s, nodes(own), (Edge * 1)(Edge(1, 0, 1)), 1, 1))
answers += [info()[5], info(False)[0], call("cuStreamUpdateCaptureDependencies", s, nodes(own), 1, 2)]
spin(1 * MS, s); code, done = end(s)
out([answers, code, done == g, run_time(executable(g), t)])
""",
    ) == [[0, 1, True, 1, [0], 0, 2, 0, [1], 402, 1], 0, True, 5_000_000]


def test_a_captured_kernel_takes_its_streams_priority_along(machine: Machine) -> None:
    assert (
        run(
            machine,
            """
u = u64(); must("cuStreamCreateWithPriority", ctypes.byref(u), 1, -4); u = u.value
g = captured(u, lambda: spin(1, u)); one = nodes(0); must("cuGraphGetNodes", g, one, ctypes.byref(size(1)))
value = (ctypes.c_int * 16)(); must("cuGraphKernelNodeGetAttribute", one[0], 8, value); out(value[0])
""",
        )
        == -4
    )


def test_forked_and_joined_work_runs_beside_each_other(machine: Machine) -> None:
    assert (
        run(
            machine,
            """
fork, back = event(2), event(2)
def work():
    record(fork, s); must("cuStreamWaitEvent", t, fork, 0); spin(3 * MS, t); spin(2 * MS, s); record(back, t)
    must("cuStreamWaitEvent", s, back, 0); spin(1 * MS, s)
out(run_time(executable(captured(s, work)), s))
""",
        )
        == 4_000_000
    )
