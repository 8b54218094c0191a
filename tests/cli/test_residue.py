"""Memory that a tenant's processes take around gshare is found, and leaves the tenant less."""

import json
import subprocess
import sys
from typing import Any

from waiting import until

from gshare.shim import sim

from .conftest import ALLOCATE, Allocator, Home

GIB, MIB = 1 << 30, 1 << 20
PIECE_BYTES = 64 * MIB


def rows(home: Home, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.gshare("ps", "--json", *options).stdout)["processes"]
    return found


def used_bytes(home: Home, pid: int) -> int:
    """The simulated GPU's truth."""
    (device,) = json.loads(home.gshare("sim", "stat", "--json").stdout)["devices"]
    return sum(process["used_bytes"] for process in device["processes"] if process["pid"] == pid)


def around(home: Home, *arguments: str) -> Allocator:
    """A process of the tenant that takes memory without the shim."""
    child = home.start("run", "--sim", "--tenant", "a", "--", *arguments, sys.executable, str(ALLOCATE))
    return Allocator(child)


def test_what_is_taken_around_gshare_is_taken_off_the_limit(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--tenant", "a")
    program.pieces(2)
    free, total = program.memory()
    inside = around(home, "env", "-u", "LD_PRELOAD")
    assert inside.pieces(100) == 100, "nothing stops it"
    taken = used_bytes(home, inside.pid)
    assert taken > 100 * PIECE_BYTES
    shown = until(lambda: next((row for row in rows(home) if row["tenant_residue_bytes"]), None))
    assert shown["tenant_residue_bytes"] == 2 * GIB - 1, "more than there is to take off"
    assert shown["memory_limit_bytes"] == total == 2 * GIB
    assert program.memory() == (0, total)
    assert program.pieces(1) == 0
    inside.child.kill()
    inside.child.wait()
    until(lambda: all(row["tenant_residue_bytes"] == 0 for row in rows(home)))
    assert program.memory() == (free, total)
    assert program.pieces(1) == 1


def test_views_add_up_while_some_is_taken_off(home: Home) -> None:
    program = home.allocator("--mem", "4G", "--tenant", "a")
    program.memory()
    inside = around(home, "env", "-i", *(f"{name}={value}" for name, value in driver(home).items()))
    inside.pieces(10)
    taken = used_bytes(home, inside.pid)
    row = until(lambda: next((row for row in rows(home) if row["tenant_residue_bytes"]), None))
    assert row["tenant_residue_bytes"] == taken
    assert row["tenant_used_bytes"] == row["used_bytes"] + taken
    free, total = program.memory()
    assert (total, free) == (4 * GIB, 4 * GIB - row["tenant_used_bytes"])
    charged = {row["pid"]: row for row in rows(home, "--memory")}
    assert charged[0]["charged_bytes"] == {"uncharged": taken}
    assert sum(row["used_bytes"] for row in charged.values()) == row["tenant_used_bytes"]
    assert "UNCHARGED" in home.gshare("ps", "--memory").stdout
    (event,) = events(home, "residue")
    assert (event["tenant"], event["bytes"]) == ("a", taken)
    home.gshare("set", "a", "--mem", "3G")
    assert program.memory() == (3 * GIB - row["tenant_used_bytes"], 3 * GIB)
    home.gshare("controller", "stop")
    assert program.memory() == (3 * GIB - row["tenant_used_bytes"], 3 * GIB), "it holds without a controller"
    inside.child.kill()
    inside.child.wait()
    until(lambda: all(row["tenant_residue_bytes"] == 0 for row in rows(home)))
    assert program.memory() == (3 * GIB - row["used_bytes"], 3 * GIB), "a new one looks for itself"


def test_who_runs_without_gshare_is_told_of_and_costs_nobody_anything(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--tenant", "a")
    free, total = program.memory()
    command = [sys.executable, str(ALLOCATE)]
    with subprocess.Popen(
        command,
        env={**home.environment, **driver(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        outside = Allocator(child)
        outside.pieces(3)
        event = until(lambda: next(iter(events(home, "unmanaged")), None))
        assert all(row["tenant_residue_bytes"] == 0 for row in rows(home))
        assert program.memory() == (free, total)
        child.communicate()
    assert (event["tenant"], event["pid"]) == ("", outside.pid)
    assert "without gshare" in home.gshare("events").stdout


def driver(home: Home) -> dict[str, str]:
    """Variables with which a program finds the simulated machine by itself."""
    return sim.environment(machine=home.environment["SIMGPU_MACHINE"])


def events(home: Home, what: str) -> list[dict[str, Any]]:
    found = json.loads(home.gshare("events", "--json").stdout)["events"]
    return [event for event in found if event["what"] == what]
