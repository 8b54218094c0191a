"""What was refused and what happened, as `gshare events` and `gshare ps --memory` tell it."""

import json
import re
import signal
import subprocess
from datetime import datetime
from typing import Any

import pytest

from gshare.cli.charges import COLUMNS, print_charges
from gshare.controller.replies import Charged

from .conftest import TIMEOUT_S, Home

GIB = 1 << 30
MIB = 1 << 20


def shown(home: Home, *arguments: str) -> Any:
    result = home.gshare(*arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_without_a_program_nothing_has_happened(home: Home) -> None:
    assert shown(home, "events") == {"schema": "gshare/events/v1", "events": []}
    assert home.gshare("events").stdout == ""


def test_a_tenants_life_is_told(home: Home) -> None:
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    taken = program.pieces(100) * 64 * MIB
    home.gshare("set", "team-a", "--mem", "2G")
    started, refused, limits = shown(home, "events")["events"]
    assert [event["what"] for event in (started, refused, limits)] == ["started", "refused", "limits"]
    assert (refused["tenant"], refused["pid"], refused["api"]) == ("team-a", program.pid, "cuMemAlloc_v2")
    assert (refused["bytes"], refused["limit_bytes"], refused["count"]) == (64 * MIB, GIB, 1)
    assert GIB - 64 * MIB < refused["used_bytes"] <= GIB
    assert refused["used_bytes"] > taken
    line = home.gshare("events", "-n", "2").stdout.splitlines()[0]
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d team-a pid {program.pid} cuMemAlloc_v2 of 64M refused "
        r"on GPU sim:0: [\d.]+M of 1G in use",
        line,
    )
    assert line.startswith(f"{datetime.fromtimestamp(refused['time_ns'] / 1e9):%H:%M:%S}")


def test_the_last_refusals_of_a_program_that_ends_are_told(home: Home) -> None:
    """By a controller that was not there when they happened, too."""
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    program.memory()
    home.gshare("controller", "stop")
    program.pieces(100)
    program.child.kill()
    program.child.wait()
    assert [event["what"] for event in shown(home, "events")["events"]] == ["started", "refused", "ended"]


def test_a_program_that_asks_without_end_does_not_flood_the_log(home: Home) -> None:
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    program.pieces(100)
    for _ in range(1000):
        assert program.pieces(1) == 0
    events = [event for event in shown(home, "events", "-n", "1000")["events"] if event["what"] != "started"]
    assert sum(event["count"] for event in events) == 1001
    assert len(events) < 50


def test_events_of_one_tenant(home: Home) -> None:
    for name in ("team-a", "team-b"):
        home.gshare("run", "--sim", "--mem", "1G", "--tenant", name, "true")
    events = shown(home, "events", "--tenant", "team-b")["events"]
    assert {event["tenant"] for event in events} == {"team-b"}
    assert home.gshare("events", "--tenant", "no name").returncode == 2
    assert home.gshare("events", "-n", "0").returncode == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_following_shows_what_happens_until_it_is_interrupted(home: Home, as_json: bool) -> None:
    home.gshare("run", "--sim", "--mem", "1G", "--tenant", "team-a", "true")
    follower = home.start("events", "--follow", "-n", "1", *["--json"] * as_json)
    assert follower.stdout is not None
    first = follower.stdout.readline()
    assert "team-a" in first
    home.gshare("run", "--sim", "--mem", "1G", "--tenant", "team-b", "true")
    lines = []
    while "team-b" not in "".join(lines) or "ended" not in lines[-1]:
        lines.append(follower.stdout.readline())
        assert lines[-1], follower.communicate()
    if as_json:
        numbers = [json.loads(line)["number"] for line in (first, *lines)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    follower.send_signal(signal.SIGINT)
    assert follower.communicate(timeout=TIMEOUT_S) == ("", "")
    assert follower.returncode == 0


def test_a_follower_outlives_the_controller(home: Home) -> None:
    home.gshare("controller", "start")
    follower = home.start("events", "--follow")
    home.gshare("run", "--sim", "--mem", "1G", "--tenant", "team-a", "true")
    assert follower.stdout is not None
    assert "team-a started" in follower.stdout.readline()
    home.gshare("controller", "stop")
    program = home.allocator("--mem", "1G", "--tenant", "team-b")
    program.pieces(100)
    seen = ""
    while "refused" not in seen:
        seen = follower.stdout.readline()
        assert seen, follower.communicate()
    assert "team-b" in seen


# -------- gshare ps --memory


def test_nobody_holds_anything_at_first(home: Home) -> None:
    memory = shown(home, "ps", "--memory")
    assert (memory["schema"], memory["processes"]) == ("gshare/memory/v1", [])
    assert home.gshare("ps", "--memory").stdout.split() == ["TENANT", "PID", "GPU", "USED", "LIMIT"]


def test_what_a_process_holds_is_told_by_kind(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--tenant", "team-a")
    taken = program.pieces(3) * 64 * MIB
    (row,) = shown(home, "ps", "--memory")["processes"]
    (process,) = shown(home, "ps")["processes"]
    assert (row["tenant"], row["pid"], row["index"], row["host"]) == ("team-a", program.pid, 0, False)
    assert row["charged_bytes"]["linear"] == taken
    assert sum(row["charged_bytes"].values()) == row["used_bytes"] == process["used_bytes"]
    assert (row["memory_limit_bytes"], row["tenant_used_bytes"]) == (2 * GIB, row["used_bytes"])
    header, line = home.gshare("ps", "--memory").stdout.splitlines()
    assert header.split() == ["TENANT", "PID", "GPU", "USED", "LIMIT", "CONTEXT", "LINEAR"]
    assert line.split()[2] == "sim:0"
    assert line.split()[6] == "192M"


def charged(kinds: int, tenant: str = "team-a") -> Charged:
    names = ["linear", "managed", "pool", "physical", "context", "array", "graph", "module"]
    held = {name: (number < kinds) * (number + 1) * GIB for number, name in enumerate(names)}
    total = sum(held.values())
    return Charged(tenant, 1234567, 0, "GPU-x", False, False, total, total, 1 << 40, held)


@pytest.mark.parametrize("kinds", range(1, 9))
def test_the_table_fits_into_80_columns_and_adds_up(capsys: pytest.CaptureFixture[str], kinds: int) -> None:
    print_charges([charged(kinds, "a-tenant-of-long-name"), charged(1)])
    header, line, _ = capsys.readouterr().out.splitlines()
    assert max(len(header), len(line)) <= COLUMNS
    used, _, *parts = line.split()[3:]
    assert sum(int(part[:-1]) for part in parts) == int(used[:-1])
    assert len(header.split()) == len(line.split())


# -------- gshare run --trace-memory


def traced(home: Home, file: str, *options: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    program = (
        "import ctypes, os; os.chdir('/'); cuda = ctypes.CDLL('libcuda.so.1'); context = ctypes.c_void_p(); "
    )
    program += "codes = cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0); print(codes)"
    return home.gshare("run", "--sim", "--trace-memory", file, *options, "python3", "-c", program, **more)


def test_a_ledger_is_written_where_the_user_is(home: Home) -> None:
    (home.folder / "here").mkdir()
    result = traced(home, "ledger", "--tenant", "team-a", "--mem", "2G", cwd=home.folder / "here")
    assert (result.stdout, result.stderr) == ("(0, 0)\n", "")
    (row,) = (json.loads(line) for line in (home.folder / "here" / "ledger").read_text().splitlines())
    assert (row["kind"], row["device"], row["limit_bytes"]) == ("context", 0, 2 * GIB)
    again = traced(home, "ledger", "--tenant", "team-a", "--mem", "2G", cwd=home.folder / "here")
    assert again.returncode == 0
    assert len((home.folder / "here" / "ledger").read_text().splitlines()) == 2  # it goes on


def test_a_dry_run_names_the_ledger_and_makes_none(home: Home) -> None:
    file = home.folder / "ledger"
    result = home.gshare("run", "--sim", "--trace-memory", str(file), "--dry-run", "--json", "true")
    assert json.loads(result.stdout)["environment"]["GSHARE_TRACE_MEMORY"] == str(file)
    assert not file.exists()


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("", "is no file"),
        ("/proc/nothing/ledger", "cannot be written: No such file or directory"),
        ("/tmp", "is not a file (name a file that holds nothing else)"),
        (__file__, "holds something else (remove it, or name another)"),
    ],
)
def test_a_ledger_that_cannot_be_is_one_line(home: Home, file: str, why: str) -> None:
    result = traced(home, file)
    assert result.returncode == 125
    assert result.stdout == ""
    assert result.stderr == f"gshare: --trace-memory {file}: {why}\n"
    assert home.written() == set()


def test_without_a_gpu_there_is_nothing_to_trace(home: Home) -> None:
    result = home.gshare("run", "--trace-memory", str(home.folder / "ledger"), "true")
    assert result.returncode == 125
    assert "there is no GPU on this machine (--sim runs on a simulated one)" in result.stderr
