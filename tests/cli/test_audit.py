"""Who runs around gshare, or writes into the books, is found and named within two seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from gshare.shim import sim

from .conftest import ALLOCATE, TIMEOUT_S, Allocator, Home

CHEAT = Path(__file__).with_name("cheat.py")
FOUND_S = 2.0
MOST_S = 10 * FOUND_S
"""On a machine that does ten other things."""


def events(home: Home, what: str) -> list[dict[str, Any]]:
    found = json.loads(home.gshare("events", "--json").stdout)["events"]
    return [event for event in found if event["what"] == what]


def cheating(home: Home, tenant: str, word: str, *prefix: str) -> subprocess.Popen[str]:
    """A process in the tenant that has just cheated; see cheat.py."""
    program = [*prefix, sys.executable, str(CHEAT), word]
    child = home.start("run", "--sim", "--mem", "4G", "--tenant", tenant, "--", *program)
    assert child.stdout is not None
    assert child.stdout.readline() == "done\n"
    return child


def test_processes_that_tamper_are_named_and_nobody_else(home: Home) -> None:
    honest = home.allocator("--mem", "2G", "--compute", "30%", "--tenant", "honest")
    found_s = []
    for tenant, word, how, *prefix in (
        ("a", "without", "without-gshare", "env", "-u", "LD_PRELOAD"),
        ("b", "own", "books-too-low"),
        ("c", "total", "books-disagree"),
    ):
        child = cheating(home, tenant, word, *prefix)
        done_ns = time.time_ns()
        event = until(lambda t=tenant: [e for e in events(home, "tampering") if e["tenant"] == t])[0]
        assert (event["pid"], event["how"], event["action"]) == (child.pid, how, "warned")
        assert str(CHEAT) in event["command"]
        found_s.append((event["time_ns"] - done_ns) / 1e9)
        honest.pieces(5)
    print("named after", ", ".join(f"{seconds:.2f} s" for seconds in found_s))
    assert max(found_s) < MOST_S
    told = json.loads(home.gshare("events", "--json").stdout)["events"]
    audited = {"tampering", "over-share", "over-quota", "unmanaged"}
    assert [event["tenant"] for event in told if event["what"] in audited] == ["a", "b", "c"]
    assert home.gshare("events").stdout.count("warned: pid") == 3


def test_who_goes_on_is_stopped_where_it_is_configured(home: Home) -> None:
    path = home.folder / "gshare.toml"
    path.write_text('[audit]\ntampering = "stop"\npause-after = 0.5\nstop-after = 0.5\n')
    home.environment["GSHARE_CONFIG"] = str(path)
    honest = home.allocator("--mem", "2G", "--tenant", "honest")
    child = cheating(home, "a", "without", "env", "-u", "LD_PRELOAD")
    assert child.wait(TIMEOUT_S) == -signal.SIGTERM
    actions = [event["action"] for event in events(home, "tampering")]
    assert actions == ["warned", "paused", "stopped"]
    assert honest.pieces(1) == 1


def test_unmanaged_processes_are_listed(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--tenant", "a")
    program.memory()
    assert json.loads(home.gshare("ps", "--unmanaged", "--json").stdout)["unmanaged"] == []
    driver = sim.environment(machine=home.environment["SIMGPU_MACHINE"])
    command = [sys.executable, str(ALLOCATE)]
    with subprocess.Popen(
        command, env={**home.environment, **driver}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        Allocator(child).pieces(3)
        assert until(lambda: events(home, "unmanaged"))[0]["pid"] == child.pid
        (row,) = json.loads(home.gshare("ps", "--unmanaged", "--json").stdout)["unmanaged"]
        assert (row["pid"], row["command"]) == (child.pid, " ".join(command))
        assert row["used_bytes"] >= 3 * (64 << 20)
        table = home.gshare("ps", "--unmanaged").stdout.splitlines()
        assert table[0].split() == ["PID", "USER", "GPU", "USED", "COMMAND"]
        assert table[1].split()[0] == str(child.pid)
        child.communicate()
    assert os.path.exists(f"/proc/{program.pid}")


@pytest.mark.soak
def test_compute_around_gshare_is_found_within_ten_seconds(home: Home) -> None:
    """A child without the library keeps the GPU busy, beside an honest program of the same share."""
    busy = ["--", sys.executable, "-m", "gshare.benchmarks.workload", "--seconds", "40"]
    home.start("run", "--sim", "--compute", "20%", "--tenant", "honest", *busy)
    around = ["--", "env", "-u", "LD_PRELOAD", *busy[1:]]
    child = home.start("run", "--sim", "--compute", "20%", "--tenant", "a", *around)
    began_ns = until(lambda: events(home, "tampering"))[0]["time_ns"]
    event = until(lambda: events(home, "over-share"))[0]
    assert (event["tenant"], event["pid"], event["how"]) == ("a", child.pid, "uncharged")
    found_s = (event["time_ns"] - began_ns) / 1e9
    print(
        f"{event['above_ppm'] / 10_000:.0f} points above its share, found {found_s:.1f} s after it was seen"
    )
    assert found_s < 10
    assert {event["tenant"] for event in events(home, "over-share")} == {"a"}
