"""What is shown: tables for people, and JSON with schema ids, integer bytes and nanoseconds."""

import json
from typing import Any

import pytest

from gshare.cli.events import line_of
from gshare.cli.render import print_table

from .conftest import Home

GIB = 1 << 30


def shown(home: Home, *arguments: str) -> Any:
    result = home.gshare(*arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_ps_tells_who_has_what(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--compute", "30%", "--tenant", "team-a")
    taken = program.pieces(2) * (64 << 20)
    idle = home.start("run", "--sim", "--tenant", "team-b", "--mem", "4G", "sleep", "60")
    while len(listed := shown(home, "ps")["processes"]) < 2:
        assert idle.poll() is None
    row, other = sorted(listed, key=lambda row: str(row["tenant"]))
    assert (row["tenant"], row["pid"], row["index"], row["simulated"]) == ("team-a", program.pid, 0, True)
    assert row["used_bytes"] == row["tenant_used_bytes"] > taken
    assert (row["memory_limit_bytes"], row["compute_limit_ppm"]) == (2 * GIB, 300_000)
    assert "allocate.py" in row["command"]
    assert (other["tenant"], other["index"], other["used_bytes"]) == ("team-b", None, 0)
    assert other["state"] == "no-cuda"
    table = home.gshare("ps").stdout.splitlines()
    assert table[0].split() == ["TENANT", "PID", "USER", "GPU", "MEM", "LIMIT", "COMPUTE", "STATE", "COMMAND"]
    cells = table[1].split()
    assert [cells[0], cells[1], cells[3], cells[5]] == ["team-a", str(program.pid), "sim:0", "2G"]


def test_ps_is_empty_when_the_programs_have_ended(home: Home) -> None:
    home.gshare("run", "--sim", "--mem", "2G", "true")
    assert shown(home, "ps")["processes"] == []


def test_status_tells_who_is_the_controller(home: Home) -> None:
    home.gshare("controller", "start")
    status = shown(home, "status")
    assert status["schema"] == "gshare/status/v1"
    assert status["controller"]["pid"] == int((home.run_dir / "controller.lock").read_text())
    assert status["tenants"] == 0
    assert f"pid {status['controller']['pid']}" in home.gshare("status").stdout


def test_status_tells_how_those_fare_whom_it_looks_after(home: Home) -> None:
    home.allocator("--mem", "1G", "--compute", "30%", "--tenant", "team-a").ask("take", 100)
    home.gshare("pause", "team-a")
    status = shown(home, "status")
    assert (status["tenants"], status["waiting"], status["paused"], status["unmanaged"]) == (1, 0, 1, 0)
    assert status["refused"] == {"memory": 1}
    assert isinstance(status["throttled_ns"], int)
    text = home.gshare("status").stdout
    assert "tenants  1 with 1 processes: 1 paused" in text
    assert "refused  1 memory" in text
    assert "web page  none (gshare web)" in text
    assert "refused since it began: 1 memory" in home.gshare("why", "team-a").stdout


def test_devices_tell_what_is_promised(home: Home) -> None:
    assert "sim start" in home.gshare("devices").stdout
    home.gshare("sim", "start", "a100*2")
    home.allocator("--mem", "2G", "--compute", "30%", "--gpu", "1").memory()
    first, second = shown(home, "devices")["devices"]
    assert (first["promised_memory_bytes"], first["promised_compute_ppm"], first["tenants"]) == (0, 0, [])
    assert (second["promised_memory_bytes"], second["promised_compute_ppm"]) == (2 * GIB, 300_000)
    assert second["used_bytes"] > 0
    assert len(home.gshare("devices").stdout.splitlines()) == 3


def test_quotas_are_permanent(home: Home) -> None:
    written = shown(home, "quota", "set", "team-a", "--mem", "16G", "--compute", "40%")
    assert written["schema"] == "gshare/quota/v1"
    home.gshare("controller", "stop")
    assert shown(home, "quota", "show") == written
    assert shown(home, "quota", "show", "team-a") == written
    table = home.gshare("quota", "show").stdout.splitlines()
    assert table[1].split()[:7] == ["team-a", "16G", "40%", "-", "-", "-", "no"]
    assert shown(home, "quota", "set", "team-a", "--mem", "none")["quotas"][0]["memory_bytes"] is None
    assert shown(home, "quota", "rm", "team-a")["quotas"][0]["compute_ppm"] == 400_000
    assert shown(home, "quota", "show")["quotas"] == []


def test_set_tells_old_and_new(home: Home) -> None:
    home.allocator("--mem", "2G", "--tenant", "team-a").memory()
    changed = shown(home, "set", "team-a", "--mem", "none", "--compute", "50%")
    assert changed["schema"] == "gshare/set/v1"
    (row,) = changed["devices"]
    assert (row["old_memory_bytes"], row["new_memory_bytes"]) == (2 * GIB, None)
    assert (row["old_compute_ppm"], row["new_compute_ppm"]) == (None, 500_000)
    again = home.gshare("set", "team-a", "--compute", "50%").stdout
    assert again == "team-a: unchanged on GPU 0 (1 process)\n"


def test_a_dry_run_is_shown_with_its_environment(home: Home) -> None:
    result = home.gshare("run", "--sim=t4", "--mem", "4G", "--dry-run", "--json", "true")
    decision = json.loads(result.stdout)
    assert decision["schema"] == "gshare/dry-run/v1"
    assert decision["devices"][0]["memory_bytes"] == 4 * GIB
    assert decision["environment"]["SIMGPU_PROFILE"] == "t4"
    assert decision["environment"]["GSHARE_TENANT_DIR"] == decision["directory"]


def test_sim_tells_the_truth(home: Home) -> None:
    assert shown(home, "sim", "start", "t4")["schema"] == "gshare/sim/v1"
    program = home.allocator("--mem", "2G")
    taken = program.pieces(3) * (64 << 20)
    (device,) = shown(home, "sim", "stat")["devices"]
    assert [process["pid"] for process in device["processes"]] == [program.pid]
    assert device["used_bytes"] == device["processes"][0]["used_bytes"] > taken
    (row,) = shown(home, "ps")["processes"]
    assert row["used_bytes"] == device["used_bytes"]  # what is charged is what is there
    assert home.gshare("sim", "stop").returncode == 0
    assert home.gshare("sim", "stat").returncode == 1


@pytest.mark.parametrize("command", [[], ["run"], ["quota"], ["controller"], ["sim"], ["set"], ["demo"]])
def test_help_is_on_stdout(home: Home, command: list[str]) -> None:
    result = home.gshare(*command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: gshare")


def test_no_name_writes_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    event = {
        "time_ns": 0,
        "what": "unmanaged",
        "tenant": "",
        "pid": 1,
        "uuid": "GPU-1",
        "command": "x\x1b[2Jy",
    }
    assert "x?[2Jy" in line_of(event)
    print_table(("A", "B"), [("a\x1b]0;owned\x07", "\x9b2Jb")])
    assert capsys.readouterr().out.splitlines()[1] == "a?]0;owned?  ?2Jb"


def test_the_version_is_the_packages(home: Home) -> None:
    assert home.gshare("--version").stdout.startswith("gshare, version ")


def test_doctor_proves_that_it_works_here(home: Home) -> None:
    report = shown(home, "doctor")
    assert report["schema"] == "gshare/doctor/v1"
    states = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert report["ok"]
    assert (states["library"], states["kernel locks"], states["hooks"], states["limits"]) == ("ok",) * 4
    assert home.written() == set()


def test_doctor_finds_what_does_not_work(home: Home) -> None:
    home.environment["GSHARE_RUNTIME_DIR"] = "/tmp/" + "x" * 110
    result = home.gshare("doctor")
    assert result.returncode == 1
    assert "bad   controller" in result.stdout
    assert "socket path too long" in result.stdout
