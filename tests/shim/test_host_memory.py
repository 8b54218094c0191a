"""Pinned memory of the host: a quota of its own, held to the page, given back in every legal way."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from tenants import MIB, Tenant

from gshare.shim import abi, sim

OUT_OF_MEMORY = 2
LIMIT = 64 * MIB
PAGE = os.sysconf("SC_PAGE_SIZE")

NAMES = "from host_calls import *\n"
START = {"cuMemAllocHost": "old_context()\n", "cuMemHostRegister": "old_context()\n"}

DOORS = [
    "cuMemAllocHost",
    "cuMemAllocHost_v2",
    "cuMemHostAlloc",
    "cuMemHostAlloc portable",
    "cuMemHostRegister",
    "cuMemHostRegister_v2",
    "create",
]


def begin(door: str = "") -> str:
    return NAMES + "start()\n" + START.get(door, "")


def pinned(tenant: Tenant, pid: int | None = None) -> int:
    """The machine's truth: what is pinned now, by all or one."""
    told = sim.stat(tenant.machine)["pinned"]
    return sum(process["pinned_bytes"] for process in told if pid in (None, process["pid"]))


def pinned_peak(tenant: Tenant) -> int:
    """The most that any one program has ever pinned."""
    return max((process["peak_pinned_bytes"] for process in sim.stat(tenant.machine)["pinned"]), default=0)


def used(tenant: Tenant) -> int:
    used_bytes: int = tenant.usage.device(abi.HOST_ROW).used_bytes
    return used_bytes


def read(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


def go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


@pytest.fixture
def limited(tenant: Tenant) -> Tenant:
    """Return a tenant that may pin 64 MiB."""
    tenant.limits.set_memory_limit(abi.HOST_ROW, LIMIT)
    return tenant


def test_nothing_happens_without_a_tenant(limited: Tenant) -> None:
    program = begin() + "p, code = pin_all('cuMemHostAlloc', 16 * MIB); out([len(p), code])"
    plain = limited.run(program, limited=False)
    limited.environ = {**limited.environ, "GSHARE_TENANT_DIR": ""}
    assert limited.run(program) == plain == [40, 0]
    assert limited.usage.device(abi.HOST_ROW).peak_bytes == 0


@pytest.mark.parametrize("door", DOORS)
def test_without_a_quota_it_is_counted_and_never_refused(tenant: Tenant, door: str) -> None:
    program = begin(door) + f"p, code = pin_all('{door}', 8 * MIB); out([len(p), code]); sys.stdin.readline()"
    with tenant.start(program) as running:
        assert read(running) == "[40, 0]\n"
        assert used(tenant) == pinned(tenant) == 320 * MIB
        assert tenant.usage.slots(abi.ROWS)[0].devices[abi.HOST_ROW].held_bytes == 320 * MIB
        running.communicate("\n", timeout=60)
    assert tenant.usage.refusals == 0


@pytest.mark.parametrize("door", DOORS)
def test_the_quota_holds_and_freeing_gives_all_of_it_back(limited: Tenant, door: str) -> None:
    program = (
        begin(door)
        + f"""
for _ in range(3):
    pieces, code = pin_all('{door}', 4 * MIB)
    frees = [piece.give() for piece in pieces]
    out([len(pieces), code, sum(frees)])
    sys.stdin.readline()
"""
    )
    assert limited.run(program.replace("sys.stdin.readline()", "break"), limited=False) == [40, 0, 0]
    assert pinned_peak(limited) == 160 * MIB, "the control pins more than the quota"
    sim.stop(limited.machine)
    sim.start(limited.machine, "l4")
    with limited.start(program) as running:
        for _ in range(3):
            assert read(running) == f"[16, {OUT_OF_MEMORY}, 0]\n"
            assert used(limited) == pinned(limited) == 0
            go_on(running)
    assert pinned_peak(limited) == limited.usage.device(abi.HOST_ROW).peak_bytes == LIMIT


@pytest.mark.parametrize("door", DOORS[:6])
def test_the_last_page_is_granted_and_not_one_more(limited: Tenant, door: str) -> None:
    program = (
        begin(door)
        + f"""
codes = [pin('{door}', {LIMIT} + 1)[0]]
code, all_of_it = pin('{door}', {LIMIT} - PAGE + 1)
codes += [code, pin('{door}', 1, 400 * MIB)[0], all_of_it.give()]
code, nearly = pin('{door}', {LIMIT} - PAGE)
codes += [code, pin('{door}', 1, 400 * MIB)[0], pin('{door}', 1, 401 * MIB)[0]]
out(codes)
"""
    )
    assert limited.run(program) == [OUT_OF_MEMORY, 0, OUT_OF_MEMORY, 0, 0, 0, OUT_OF_MEMORY]


def test_whole_pages_are_charged_for_what_lies_in_them(limited: Tenant) -> None:
    program = (
        begin()
        + """
def step(code): out(code); sys.stdin.readline()
step(register(PAGES + PAGE - 1, 2)); step(register(PAGES + 2 * PAGE, PAGE)); step(host_alloc(1)[0])
step(host_alloc(PAGE + 1)[0]); step(call("cuMemHostUnregister", PAGES + PAGE - 1))
"""
    )
    with limited.start(program) as running:
        for pages in (2, 3, 4, 6, 4):
            assert read(running) == "0\n"
            assert used(limited) == pinned(limited) == pages * PAGE
            go_on(running)


ENDS = [
    pytest.param("must('cuCtxCreate_v2', ctypes.byref(c), 0, 0)", "must('cuCtxDestroy_v2', c)", id="own"),
    pytest.param(
        "must('cuDevicePrimaryCtxRetain', ctypes.byref(c), 0); must('cuCtxSetCurrent', c)",
        "must('cuDevicePrimaryCtxReset_v2', 0)",
        id="reset",
    ),
    pytest.param(
        "must('cuDevicePrimaryCtxRetain', ctypes.byref(c), 0); must('cuCtxSetCurrent', c)",
        "must('cuDevicePrimaryCtxRelease_v2', 0)",
        id="released",
    ),
]


@pytest.mark.parametrize(("make", "end"), ENDS)
def test_it_ends_with_its_context(limited: Tenant, make: str, end: str) -> None:
    program = (
        NAMES
        + f"""
must("cuInit", 0); c = u64()
for _ in range(3):
    {make}
    out([host_alloc(20 * MIB)[0], host_alloc(20 * MIB, 1)[0], register(PAGES, 20 * MIB)])
    sys.stdin.readline()
    {end}
    out(0); sys.stdin.readline()
"""
    )
    with limited.start(program) as running:
        for _ in range(3):
            assert read(running) == "[0, 0, 0]\n"
            assert used(limited) == pinned(limited) == 60 * MIB
            go_on(running)
            assert read(running) == "0\n"
            assert used(limited) == pinned(limited) == 0
            go_on(running)


def test_it_stays_when_another_context_ends(limited: Tenant) -> None:
    program = (
        begin()
        + """
code, p = host_alloc(40 * MIB); c = u64()
must("cuCtxCreate_v2", ctypes.byref(c), 0, 0); must("cuCtxDestroy_v2", c)
out([code, host_alloc(40 * MIB)[0], call("cuMemFreeHost", p), host_alloc(40 * MIB)[0]])
"""
    )
    assert limited.run(program) == [0, OUT_OF_MEMORY, 0, 0]


def test_exported_memory_of_the_host_costs_its_maker_alone(limited: Tenant) -> None:
    program = (
        begin()
        + """
from vmm_calls import export
import subprocess
fd = export(create(40 * MIB, kind=3)[1])
subprocess.run([sys.executable, "-c", f'''
from driver_calls import *; from host_calls import *; from vmm_calls import bring
start(); out([bring({fd})[0], host_alloc(24 * MIB)[0], host_alloc(1)[0]])'''], pass_fds=[fd], check=True)
"""
    )
    assert limited.run(program) == [0, 0, OUT_OF_MEMORY]


def test_bad_arguments_get_the_drivers_own_answer(limited: Tenant) -> None:
    """With the quota all used: what is wrong, or there already, is not out of memory."""
    program = (
        begin()
        + """
first = host_alloc({half})[1]; must("cuMemHostRegister_v2", PAGES, {half}, 0)
def all_of_them(): return [
    call("cuMemHostAlloc", 0, 4096, 0), host_alloc(0)[0], host_alloc(4096, 1 << 20)[0],
    call("cuMemAllocHost_v2", 0, 4096), new("cuMemAllocHost_v2", 0)[0],
    host_alloc(2**64 - 1)[0], host_alloc(2**57)[0],
    register(0, 4096), register(PAGES + {half}, 0), register(PAGES + {half}, 4096, 1 << 20),
    register(PAGES + {half}, 4096, 4), register(2**64 - 4096, 8192), register(4096, 2**63),
    register(PAGES, 4096), register(PAGES, {half}), register(first, 4096),
    call("cuMemFreeHost", 0), call("cuMemFreeHost", PAGES), call("cuMemFreeHost", first + 64),
    call("cuMemHostUnregister", 0), call("cuMemHostUnregister", first),
    call("cuMemHostUnregister", PAGES + 1),
    free(first),
]
codes = all_of_them()
must("cuCtxSetCurrent", None)
out([codes, host_alloc(4096)[0], register(PAGES + {half}, 4096)])
""".replace("{half}", str(LIMIT // 2))
    )
    told = limited.run(program)
    assert told == limited.run(program, limited=False)
    assert told[1:] == [201, 201]
    assert limited.usage.refusals == 0


@pytest.mark.parametrize(
    ("name", "door"),
    [
        (door.split()[0] if door != "create" else "cuMemCreate", door)
        for door in DOORS
        if "portable" not in door
    ],
)
def test_failures_of_the_driver_are_rolled_back(limited: Tenant, name: str, door: str) -> None:
    program = (
        begin(door)
        + f"""
codes = [pin('{door}', 10 * MIB)[0] for _ in range(40)]
code, piece = pin('{door}', {LIMIT})
out([codes, code, piece.give()])
"""
    )
    assert limited.run(program, SIMGPU_FAULTS=f"{name}:1-40:304") == [[304] * 40, 0, 0]


@pytest.mark.parametrize(("name", "door"), [("cuMemFreeHost", "cuMemHostAlloc"), ("cuMemHostUnregister",
                         "cuMemHostRegister_v2"), ("cuMemRelease", "create")])  # fmt: skip
def test_what_could_not_be_freed_stays_charged(limited: Tenant, name: str, door: str) -> None:
    program = (
        begin()
        + f"""
code, piece = pin('{door}', {LIMIT})
out([code, piece.give(), pin('{door}', 2 * MIB, 40)[0], piece.give(), pin('{door}', 2 * MIB, 40)[0]])
"""
    )
    assert limited.run(program, SIMGPU_FAULTS=f"{name}:1:304") == [0, 304, OUT_OF_MEMORY, 0, 0]


def test_refusals_leave_a_note_with_the_functions_name(limited: Tenant) -> None:
    program = (
        begin()
        + f"""
codes = [pin(door, {2 * LIMIT})[0] for door in {DOORS[1:4] + DOORS[5:]}]
out([codes, os.getpid()]); sys.stdin.readline()
"""
    )
    with limited.start(program) as running:
        read(running)
        notes = limited.usage.refusals_since(0)
        running.communicate("\n", timeout=60)
    names = ["cuMemAllocHost_v2", "cuMemHostAlloc", "cuMemHostAlloc", "cuMemHostRegister_v2", "cuMemCreate"]
    assert [note.api for note in notes] == names
    assert {(note.row, note.bytes, note.used_bytes, note.limit_bytes, note.pid) for note in notes} == {
        (abi.HOST_ROW, 2 * LIMIT, 0, LIMIT, running.pid)
    }


def test_it_is_apart_from_the_devices_memory(limited: Tenant) -> None:
    program = (
        begin()
        + f"""
before = info(); code, p = host_alloc({LIMIT}); q = alloc(500 * MIB)[0]
out([code, q, host_alloc(1)[0], before[0] - info()[0], before[1] == info()[1]])
"""
    )
    assert limited.run(program) == [0, 0, OUT_OF_MEMORY, 500 * MIB, True]
    limited.limits.set_memory_limit(0, abi.NO_LIMIT_BYTES)
    assert limited.run(begin() + "out([alloc(4 << 30)[0], host_alloc(65 * MIB)[0]])") == [0, OUT_OF_MEMORY]


def test_a_lowered_limit_takes_nothing_away(limited: Tenant) -> None:
    program = (
        begin()
        + """
first = host_alloc(32 * MIB)[1]
for _ in range(3): out(host_alloc(MIB)[0]); sys.stdin.readline()
out([call("cuMemFreeHost", first), host_alloc(MIB)[0]])
"""
    )
    with limited.start(program) as running:
        for limit, code in ((LIMIT, 0), (16 * MIB, OUT_OF_MEMORY), (abi.NO_LIMIT_BYTES, 0)):
            limited.limits.set_memory_limit(abi.HOST_ROW, limit)
            if limit != LIMIT:
                go_on(running)
            assert read(running) == f"{code}\n"
        limited.limits.set_memory_limit(abi.HOST_ROW, 16 * MIB)
        go_on(running)
        assert read(running) == "[0, 0]\n"


def test_threads_never_pass_the_quota_together(limited: Tenant) -> None:
    program = (
        begin()
        + """
context = u64(); must("cuCtxGetCurrent", ctypes.byref(context)); refused = [0] * 6
def work(number):
    must("cuCtxSetCurrent", context)
    kept = []
    for i in range(200):
        if i % 3 == 2: kept.pop(0).give() and os._exit(3) if kept else None
        if (i + number) % 2: code, piece = pin("cuMemHostAlloc", (i % 8 + 1) * MIB + 1)
        else: code, piece = pin("cuMemHostRegister_v2", 8 * MIB, number * 8 + i % 8)
        if not code: kept.append(piece)
        elif code == 2: refused[number] += 1
        elif code != 712: os._exit(3)
    for piece in kept: piece.give() and os._exit(3)
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
out(sum(refused)); sys.stdin.readline()
"""
    )
    with limited.start(program) as running:
        assert int(read(running)) > 0
        assert used(limited) == pinned(limited) == 0
        running.communicate("\n", timeout=60)
    assert 0 < pinned_peak(limited) <= limited.usage.device(abi.HOST_ROW).peak_bytes <= LIMIT


def test_two_processes_share_it_and_a_kill_gives_it_back_at_once(limited: Tenant) -> None:
    program = (
        begin()
        + """
pieces, code = pin_all("cuMemHostAlloc", 4 * MIB); out(len(pieces)); sys.stdin.readline()
out(len(pin_all("cuMemHostRegister_v2", 4 * MIB)[0]))
"""
    )
    holder = limited.start(program)
    assert read(holder) == "16\n"
    with limited.start(program) as other:
        assert read(other) == "0\n"
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        go_on(other)
        assert read(other) == "16\n"


def test_a_forks_child_holds_none_and_what_exec_leaves_is_free(limited: Tenant) -> None:
    program = (
        begin()
        + f"""
pieces, code = pin_all("cuMemHostAlloc", {LIMIT})
child = os.fork()
if not child: os._exit(0)
os.waitpid(child, 0); out([len(pieces), host_alloc(1)[0]]); sys.stdin.readline()
os.execv(sys.executable, [sys.executable, "-c", '''
from host_calls import *
from driver_calls import start, out
start(); out([host_alloc({LIMIT})[0], host_alloc(1)[0]])'''])
"""
    )
    with limited.start(program) as running:
        assert read(running) == f"[1, {OUT_OF_MEMORY}]\n"
        assert used(limited) == LIMIT, "the child took nothing with it"
        go_on(running)
        assert read(running) == f"[0, {OUT_OF_MEMORY}]\n"
