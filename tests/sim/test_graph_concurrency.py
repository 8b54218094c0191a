"""Branches of a graph run beside each other, and what is around a launch keeps its order: device time."""

from __future__ import annotations

from typing import Any

from simulated import Machine

START = "import ctypes\nfrom graph_work import *\nstart()\ns, t = stream(), stream()\nfunction()\n"


def run(machine: Machine, code: str) -> Any:
    return machine.run(START + code)


def test_the_branches_of_a_diamond_run_beside_each_other(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); top = add(g, kernel(2 * MS)); sides = [add(g, kernel(1 * MS), [top]) for _ in range(2)]
add(g, kernel(3 * MS), sides)
line = graph(); last = []
for ns in (2, 1, 1, 3):
    last = [add(line, kernel(ns * MS), last)]
out([run_time(executable(g), s), run_time(executable(line), s), run_time(executable(g), 0)])
""",
    ) == [6_000_000, 7_000_000, 6_000_000]
    (process,) = machine.device()["processes"]
    assert process["kernels"] == 12 + 3  # and those that held the stream back


def test_branches_take_turns_where_their_blocks_need_all_sms(machine: Machine) -> None:
    sms = 58  # an L4
    assert run(
        machine,
        f"""
def diamond(blocks):
    g = graph(); [add(g, kernel(1 * MS, blocks)) for _ in range(4)]
    return run_time(executable(g), s)
out([diamond(1), diamond({sms // 2}), diamond({sms})])
""",
    ) == [1_000_000, 2_000_000, 4_000_000]


def test_copies_of_a_graph_go_beside_its_kernels(machine: Machine) -> None:
    together, one = run(
        machine,
        """
_, a = alloc(8 << 20); host = new("cuMemHostAlloc", 8 << 20, 0)[1]
up = copy(host, HOST, a, DEVICE, 8 << 20)
alone = graph(); add(alone, up); one = run_time(executable(alone), s)
g = graph(); add(g, up); add(g, kernel(one)); add(g, kernel(one // 2))
out([run_time(executable(g), s), one])
""",
    )
    assert together == one > 100_000


def test_what_comes_after_a_launch_waits_for_all_branches(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); [add(g, kernel(ns * MS)) for ns in (1, 5, 2)]
e = executable(g); a, b, c, d = (event() for _ in range(4))
spin(50 * MS, s); record(a, s); spin(1 * MS, s); must("cuGraphLaunch", e, s); record(b, s)
must("cuStreamWaitEvent", t, b, 0); spin(1 * MS, t); record(c, t); spin(1 * MS, s); record(d, s)
busy = call("cuStreamQuery", s); sync()
out([elapsed_ns(a, b), elapsed_ns(b, c), elapsed_ns(b, d), busy, call("cuStreamQuery", s)])
""",
    ) == [6_000_000, 1_000_000, 1_000_000, 600, 0]


def test_a_branched_graph_keeps_the_order_of_the_legacy_stream(machine: Machine) -> None:
    """In all its branches a blocking stream's graph waits for the legacy stream, and that for the graph."""
    assert run(
        machine,
        """
u = stream(0); g = graph(); [add(g, kernel(1 * MS)) for _ in range(3)]
e = executable(g); a, b, c = event(), event(), event()
spin(50 * MS, 0); record(a, 0); spin(2 * MS, 0); must("cuGraphLaunch", e, u); record(b, u)
spin(1 * MS, 0); record(c, 0); sync()
out([elapsed_ns(a, b), elapsed_ns(b, c)])
""",
    ) == [3_000_000, 1_000_000]


def test_launches_of_one_executable_graph_never_overlap_whatever_the_streams(machine: Machine) -> None:
    assert run(
        machine,
        """
g = graph(); add(g, kernel(2 * MS)); e, other = executable(g), executable(g)
def pair(x, y):
    a, b = event(), event(); gate = event(2)
    spin(50 * MS, s); record(gate, s); record(a, s); must("cuStreamWaitEvent", t, gate, 0)
    must("cuGraphLaunch", x, s); must("cuGraphLaunch", y, t); record(b, t); sync()
    return elapsed_ns(a, b)
out([pair(e, e), pair(e, other)])
""",
    ) == [4_000_000, 2_000_000]


def test_nodes_depend_on_what_their_edges_say_and_on_nothing_else(machine: Machine) -> None:
    """Two chains of 1 ms kernels with one edge across: from the second of one to the last of the other."""
    assert run(
        machine,
        """
g = graph(); stamps = [event() for _ in range(3)]
def chain(length):
    made = [add(g, kernel(1 * MS))]
    while len(made) < length:
        made.append(add(g, kernel(1 * MS), made[-1:]))
    return made
a, b = chain(2), chain(4)
cross = add(g, kernel(1 * MS), [a[-1], b[0]])
marks = [new("cuGraphAddEventRecordNode", g, nodes(n), 1, m)[1] for n, m in zip((a[0], cross, b[-1]), stamps)]
e = executable(g); first = event(); spin(50 * MS, s); record(first, s); must("cuGraphLaunch", e, s); sync()
out([elapsed_ns(first, m) for m in stamps])
""",
    ) == [1_000_000, 3_000_000, 4_000_000]


def test_wide_deep_and_many_launches_leave_memory_flat(machine: Machine) -> None:
    """1000 nodes in 40 chains; then 10,000 launches of a diamond: neither memory nor streams grow."""
    wide, grown, lost = run(
        machine,
        """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
g = graph(); ends = [add(g, kernel(100_000)) for _ in range(40)]
for _ in range(24):
    ends = [add(g, kernel(100_000), [n]) for n in ends]
wide = run_time(executable(g), s)
d = graph(); top = add(d, kernel(1)); add(d, kernel(1), [add(d, kernel(1), [top]), add(d, kernel(1), [top])])
e = executable(d)
def launches(n):
    for _ in range(n):
        must("cuGraphLaunch", e, s)
    sync()
launches(2000); before = resident(); launches(10_000); grown = resident() - before
before = resident(); exes = [executable(d) for _ in range(300)]
[must("cuGraphExecDestroy", x) for x in exes]; before = resident()
for _ in range(2000):
    must("cuGraphExecDestroy", executable(d))
out([wide, grown, resident() - before])
""",
    )
    assert wide == 3_200_000  # a graph has 32 lanes: 1000 nodes of 0.1 ms are 32 rounds
    assert grown < 1 << 20
    assert lost < 1 << 20


def test_priorities_of_nodes_count_where_the_flag_says_so(machine: Machine) -> None:
    """Beside a stream full of work for all SMs, the node with the higher priority is next."""
    assert run(
        machine,
        """
def first_of(flags):
    g = graph(); low = add(g, kernel(1 * MS, 58)); high = add(g, kernel(1 * MS, 58))
    value = (ctypes.c_int * 16)(-5); must("cuGraphKernelNodeSetAttribute", high, 8, value)
    marks = [event(), event()]
    for n, m in zip((low, high), marks):
        new("cuGraphAddEventRecordNode", g, nodes(n), 1, m)
    e = executable(g, flags); a = event(); spin(50 * MS, s); record(a, s); must("cuGraphLaunch", e, s); sync()
    return [elapsed_ns(a, m) for m in marks]
out([first_of(0), first_of(8)])
""",
    ) == [[1_000_000, 2_000_000], [2_000_000, 1_000_000]]
