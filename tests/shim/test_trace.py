"""The ledger of charges: all of them, in whole lines, from every process; and nothing where nobody asks."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

from gshare.shim import TRACE_LINE_BYTES, TRACE_VARIABLE, abi

OUT_OF_MEMORY = 2
CONTEXT_AND_ONE = "start(); code, at = alloc(MIB)\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def traced(tenant: Tenant, ledger: Path) -> Tenant:
    """A tenant whose programs write the ledger."""
    tenant.environ = {**tenant.environ, TRACE_VARIABLE: str(ledger)}
    return tenant


def lines(ledger: Path) -> list[dict[str, Any]]:
    """The ledger, each line of which must be whole."""
    content = ledger.read_bytes()
    assert len(content) % TRACE_LINE_BYTES == 0
    pieces = [content[at : at + TRACE_LINE_BYTES] for at in range(0, len(content), TRACE_LINE_BYTES)]
    assert all(piece.endswith(b"\n") for piece in pieces)
    return [json.loads(piece) for piece in pieces]


def sums(rows: list[dict[str, Any]], *keys: str) -> Counter[Any]:
    """What changes add up to, by the values of `keys`."""
    found: Counter[Any] = Counter()
    for row in rows:
        found[tuple(row[key] for key in keys)] += row.get("bytes", 0)
    return found


def test_without_being_asked_nothing_is_written(tenant: Tenant, ledger: Path) -> None:
    assert tenant.run(CONTEXT_AND_ONE + "out([code, sorted(os.listdir('/proc/self/fd'))])")[0] == 0
    assert not ledger.exists()


def test_without_a_tenant_nothing_is_written(tenant: Tenant, ledger: Path) -> None:
    code = CONTEXT_AND_ONE + "out(code)"
    assert tenant.run(code, limited=False, **{TRACE_VARIABLE: str(ledger)}) == 0
    assert not ledger.exists()


def test_who_clears_its_environment_is_traced_all_the_same(traced: Tenant, ledger: Path) -> None:
    clear = f"ctypes.CDLL(None).unsetenv({TRACE_VARIABLE.encode()!r})\n"
    assert traced.run(clear + CONTEXT_AND_ONE + "out(code)") == 0
    assert sums(lines(ledger), "kind")[("linear",)] == MIB


def test_each_charge_is_a_line(traced: Tenant, ledger: Path) -> None:
    pid = traced.run(CONTEXT_AND_ONE + "free(at); out(os.getpid())")
    context = traced.context_bytes[0]
    rows = lines(ledger)
    assert [(row["kind"], row["bytes"]) for row in rows[:3]] == [
        ("context", context),
        ("linear", MIB),
        ("linear", -MIB),
    ]
    assert [row["process_bytes"] for row in rows[:3]] == [context, context + MIB, context]
    for row in rows:
        assert (row["pid"], row["tid"], row["device"], row["limit_bytes"]) == (pid, pid, 0, GIB)
        assert row["used_bytes"] == row["process_bytes"]
    times = [row["time_ns"] for row in rows]
    assert times == sorted(times)


def test_a_refusal_is_a_line_with_the_function(traced: Tenant, ledger: Path) -> None:
    assert traced.run("start(); out(alloc(2 * GIB)[0])") == OUT_OF_MEMORY
    context = traced.context_bytes[0]
    refusal = next(row for row in lines(ledger) if "api" in row)
    assert (refusal["api"], refusal["refused_bytes"]) == ("cuMemAlloc_v2", 2 * GIB)
    assert (refusal["process_bytes"], refusal["used_bytes"], refusal["limit_bytes"]) == (
        context,
        context,
        GIB,
    )
    assert "bytes" not in refusal  # nothing was charged


def test_hostile_numbers_and_long_names_fit(new_tenant: Callable[..., Tenant], ledger: Path) -> None:
    """The longest name there is among those that are refused, with the highest number."""
    tenant = new_tenant(limit_bytes=abi.NO_LIMIT_BYTES - 1)
    code = """
start()
stream = new("cuStreamCreate", 1)[1]
pool = new("cuDeviceGetDefaultMemPool", 0)[1]
out([alloc(2**64 - 1)[0], new("cuMemAllocFromPoolAsync_ptsz", 2**64 - 1, pool, stream)[0]])
"""
    assert tenant.run(code, **{TRACE_VARIABLE: str(ledger)}) == [OUT_OF_MEMORY] * 2
    first, second = (row for row in lines(ledger) if "api" in row)
    assert (first["refused_bytes"], first["limit_bytes"]) == (2**64 - 1, 2**64 - 2)
    assert second["api"] == "cuMemAllocFromPoolAsync_ptsz"


def test_the_hosts_pinned_memory_is_named_so(traced: Tenant, ledger: Path) -> None:
    assert traced.run("from host_calls import *\nstart(); out(host_alloc(MIB)[0])") == 0
    row = next(row for row in lines(ledger) if row["device"] == "host")
    assert (row["bytes"], row["process_bytes"], row["limit_bytes"]) == (MIB, MIB, None)


def test_a_program_that_closes_all_its_files_goes_on_writing(traced: Tenant, ledger: Path) -> None:
    """And none of its own files, under whatever number, gets a line of ours."""
    own = ledger.with_name("own")
    code = f"""
start()
keep = os.dup(1)
os.closerange(3, keep)
files = [os.open({str(own)!r}, os.O_RDWR | os.O_CREAT) for _ in range(32)]
pointers, code = fill(MIB, most=10)
out(len(pointers))
"""
    assert traced.run(code) == 10
    assert own.read_bytes() == b""
    assert sum(row.get("bytes", 0) == MIB for row in lines(ledger)) == 10


def test_no_file_of_ours_stays_open(traced: Tenant, ledger: Path) -> None:
    code = """
start()
fill(MIB, most=10)
files = [os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
out([os.readlink(file) for file in files if os.path.exists(file)])
"""
    assert str(ledger) not in traced.run(code)
    assert len(lines(ledger)) > 10


def test_threads_and_children_have_lines_of_their_own(traced: Tenant, ledger: Path) -> None:
    code = """
context = start()
def work():
    must("cuCtxSetCurrent", context)
    alloc(2 * MIB)
thread = threading.Thread(target=work)
thread.start()
thread.join()
child = os.fork()
if not child:
    os.execv(sys.executable, [sys.executable, "-c", "from driver_calls import *; start(); alloc(3 * MIB)"])
os.waitpid(child, 0)
out([os.getpid(), thread.native_id, child])
"""
    pid, thread, child = traced.run(code)
    rows = lines(ledger)
    assert [row["tid"] for row in rows if row.get("bytes") == 2 * MIB] == [thread]
    assert [row["pid"] for row in rows if row.get("bytes") == 3 * MIB] == [child]
    assert {row["pid"] for row in rows} == {pid, child}


def test_a_file_that_cannot_be_written_is_told_once(traced: Tenant) -> None:
    with traced.start(CONTEXT_AND_ONE + "out(code)", **{TRACE_VARIABLE: "/proc/nothing/ledger"}) as program:
        output, errors = program.communicate(timeout=60)
    assert (json.loads(output), program.returncode) == (0, 0)
    assert errors.count("\n") == 1
    assert errors.startswith("gshare: /proc/nothing/ledger: cannot be written: No such file or directory")


RANDOM = """
import random
from host_calls import *
start()
chosen = random.Random(os.environ["SEED"])
stream = new("cuStreamCreate", 1)[1]
held = []
for _ in range(60):
    what, bytes_ = chosen.randrange(5), chosen.randrange(1, 40 * MIB)
    if what == 0 and held:
        way, at = held.pop(chosen.randrange(len(held)))
        must(way, at, *[stream] * (way == "cuMemFreeAsync"))
    elif what == 1:
        code, at = alloc(bytes_)
        held += [("cuMemFree_v2", at)] * (code == 0)
    elif what == 2:
        code, at = new("cuMemAllocManaged", bytes_, 1)
        held += [("cuMemFree_v2", at)] * (code == 0)
    elif what == 3:
        code, at = new("cuMemAllocAsync", bytes_, stream)
        held += [("cuMemFreeAsync", at)] * (code == 0)
    else:
        code, at = host_alloc(bytes_)
        held += [("cuMemFreeHost", at)] * (code == 0)
print(flush=True)
sys.stdin.readline()
for way, at in held:
    must(way, at, *[stream] * (way == "cuMemFreeAsync"))
must("cuCtxSynchronize")
must("cuMemPoolTrimTo", new("cuDeviceGetDefaultMemPool", 0)[1], 0)
must("cuDevicePrimaryCtxRelease_v2", 0)
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("seed", range(3))
def test_the_ledger_adds_up(traced: Tenant, ledger: Path, seed: int) -> None:
    """For each process and row what it holds, by kind; over all what the tenant uses; zero after the end."""
    traced.limits.set_memory_limit(0, 2 * GIB)
    programs = [traced.start(RANDOM, SEED=f"{seed}{number}") for number in range(3)]
    rows_of = {0: 0, "host": abi.HOST_ROW}
    for freed in (False, True):
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "\n", program.communicate()
        rows = lines(ledger)
        by_kind, by_row = (
            sums([r for r in rows if "kind" in r], "pid", "device", "kind"),
            sums(rows, "device"),
        )
        for slot in traced.usage.slots(abi.ROWS):
            for device, row in rows_of.items():
                kinds = {k: n for k, n in slot.devices[row].charged_bytes.items() if n}
                told = {k: n for (pid, d, k), n in by_kind.items() if (pid, d) == (slot.pid, device) and n}
                assert told == kinds
                assert sum(told.values()) == slot.devices[row].held_bytes
                last = [r for r in rows if (r["pid"], r["device"]) == (slot.pid, device)]
                assert not last or last[-1]["process_bytes"] == slot.devices[row].held_bytes
        for device, row in rows_of.items():
            assert by_row[device,] == traced.usage.device(row).used_bytes
        assert any(by_row.values()) != freed
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
    for program in programs:
        assert program.wait(timeout=30) == 0
        program.communicate()


def test_killed_programs_leave_whole_lines(traced: Tenant, ledger: Path) -> None:
    code = "start(); print(flush=True)\nwhile True: free(alloc(MIB)[1])"
    for _ in range(5):
        programs = [traced.start(code) for _ in range(3)]
        for program in programs:
            assert program.stdout is not None
            program.stdout.readline()
        for program in programs:
            os.kill(program.pid, signal.SIGKILL)
            program.communicate()
    assert len(lines(ledger)) > 15


def test_what_a_dead_process_held_is_told_when_it_is_given_back(traced: Tenant, ledger: Path) -> None:
    with traced.start("start(); fill(100 * MIB); print(flush=True); sys.stdin.read()") as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.kill()
    held = traced.usage.device(0).used_bytes
    assert traced.run("start(); fill(100 * MIB); out(1)") == 1
    (row,) = (row for row in lines(ledger) if row.get("kind") == "ended")
    assert (row["pid"], row["bytes"], row["process_bytes"]) == (program.pid, -held, 0)
    assert sums(lines(ledger), "device")[0,] == traced.usage.device(0).used_bytes
