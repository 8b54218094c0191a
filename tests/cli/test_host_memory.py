"""A quota for pinned memory of the host: asked for, held, changed while programs run, refused in one line."""

import json
import os
import sys
from typing import Any

import pytest

from .conftest import Allocator, Home

MIB, GIB = 1 << 20, 1 << 30
MACHINE_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

PIN = """
import ctypes, sys
d, c, p = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_void_p()
assert d.cuInit(0) == d.cuDevicePrimaryCtxRetain(ctypes.byref(c), 0) == d.cuCtxSetCurrent(c) == 0
for line in sys.stdin:
    taken = 0
    while taken < int(line) and d.cuMemHostAlloc(ctypes.byref(p), ctypes.c_size_t(16 << 20), 0) == 0:
        taken += 1
    print(taken, flush=True)
"""


def pinner(home: Home, *options: str) -> Allocator:
    """A program that pins pieces of 16 MiB, as many as it is told, and answers how many it got."""
    return Allocator(home.start("run", "--sim", *options, "--", sys.executable, "-c", PIN))


def shown(home: Home, *arguments: str) -> Any:
    result = home.gshare(*arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_pinned_memory_is_held_to_what_was_asked_and_only_then(home: Home) -> None:
    assert pinner(home).ask(20) == "20"
    assert pinner(home, "--mem", "4G").ask(20) == "20"
    assert pinner(home, "--host-mem", "128M").ask(20) == "8"
    assert pinner(home, "--share", "0.5", "--host-mem", "64M").ask(20) == "4"


def test_ps_tells_of_it(home: Home) -> None:
    program = pinner(home, "--host-mem", "128M", "--tenant", "a")
    program.ask(3)
    (row,) = shown(home, "ps")["processes"]
    assert (row["host_used_bytes"], row["host_memory_limit_bytes"]) == (48 * MIB, 128 * MIB)
    assert (row["memory_limit_bytes"], row["used_bytes"]) == (None, row["tenant_used_bytes"])
    (host,) = (row for row in shown(home, "ps", "--memory")["processes"] if row["host"])
    assert (host["used_bytes"], host["memory_limit_bytes"], host["index"]) == (48 * MIB, 128 * MIB, None)


def test_it_changes_while_programs_run(home: Home) -> None:
    program = pinner(home, "--host-mem", "64M", "--tenant", "a")
    assert program.ask(20) == "4"
    assert home.gshare("set", "a", "--host-mem", "128M").stdout == "a: host-mem 64M -> 128M (1 process)\n"
    assert program.ask(20) == "4"
    both = home.gshare("set", "a", "--host-mem", "16M", "--mem", "4G").stdout.splitlines()
    assert both == ["a: host-mem 128M -> 16M (1 process)", "a: mem no limit -> 4G on GPU 0 (1 process)"]
    assert program.ask(20) == "0"
    change = shown(home, "set", str(program.pid), "--host-mem", "none")
    assert (change["old_host_memory_bytes"], change["new_host_memory_bytes"]) == (16 * MIB, None)
    assert program.ask(20) == "20"
    assert shown(home, "set", "a", "--mem", "5G")["new_host_memory_bytes"] is None


def test_a_permanent_tenant_has_it_and_a_new_controller_knows_it(home: Home) -> None:
    assert home.gshare("quota", "set", "a", "--host-mem", "64M").returncode == 0
    table = home.gshare("quota", "show").stdout.splitlines()
    assert "HOST-MEM" in table[0].split()
    assert table[1].split("  ")[0] == "a"
    assert "64M" in table[1]
    first, second = pinner(home, "--tenant", "a"), pinner(home, "--tenant", "a", "--host-mem", "64M")
    assert (first.ask(3), second.ask(20)) == ("3", "1"), "its programs share one quota"
    assert home.gshare("controller", "stop").returncode == 0
    assert shown(home, "set", "a", "--compute", "30%")["new_host_memory_bytes"] == 64 * MIB
    assert first.ask(1) == "0"
    assert home.gshare("quota", "set", "a", "--host-mem", "none", "--mem", "8G").returncode == 0
    (quota,) = shown(home, "quota", "show")["quotas"]
    assert (quota["host_memory_bytes"], quota["memory_bytes"]) == (None, 8 * GIB)
    assert first.ask(4) == "4"


def test_a_percentage_is_of_the_machines_memory(home: Home) -> None:
    decide = ("run", "--sim", "--dry-run")
    half = home.gshare(*decide, "--json", "--host-mem", "50%", "true").stdout
    assert json.loads(half)["host_memory_bytes"] == MACHINE_BYTES * 500_000 // 1_000_000
    without = home.gshare(*decide, "--json", "--mem", "8G", "true").stdout
    assert json.loads(without)["host_memory_bytes"] is None
    text = home.gshare(*decide, "--host-mem", "1G", "true").stdout
    assert "# host: pinned memory 1G\n" in text


REFUSED = (
    ("8GB", "--host-mem 8GB: GB means 10^9 bytes to some and 2^30 to others (write 8G for 8 x 2^30 bytes)"),
    ("0", "--host-mem 0: a size must be above zero (as 512M or 8G)"),
    ("-1G", "--host-mem -1G: a size must be above zero (as 512M or 8G)"),
    ("", "--host-mem : not a size (bytes, or with K, M, G, T, as 8G; or a part of what there is, as 30%)"),
    ("0=8G", "--host-mem 0=8G: not a size"),
    ("none", "--host-mem none: not a size"),
    ("101%", "--host-mem 101%: more than there is (100% at most)"),
    ("99999999999G", "--host-mem 99999999999G: nothing is that large"),
    (f"{MACHINE_BYTES + 1}", "is more than the machine has ("),
)


@pytest.mark.parametrize(("amount", "line"), REFUSED)
def test_an_amount_that_cannot_be_is_refused_in_one_line(home: Home, amount: str, line: str) -> None:
    result = home.gshare("run", "--sim", "--dry-run", "--host-mem", amount, "--", "true")
    assert (result.returncode, result.stdout) == (125, "")
    assert line in result.stderr
    assert result.stderr.startswith("gshare: --host-mem ")
    assert result.stderr.count("\n") == 1


def test_what_a_tenant_cannot_have_is_refused_and_nothing_changes(home: Home) -> None:
    program = pinner(home, "--host-mem", "64M", "--tenant", "a")
    program.ask(1)
    more = f"{MACHINE_BYTES + 1}"
    for command in (["set", "a"], ["quota", "set", "a"]):
        result = home.gshare(*command, "--mem", "4G", "--host-mem", more)
        assert result.returncode == 6
        assert "is more than the machine has" in result.stderr
    assert home.gshare("quota", "show", "a").returncode == 5
    other = home.gshare("run", "--sim", "--tenant", "a", "--host-mem", "32M", "true")
    assert "--tenant a: has other limits than these" in other.stderr
    (row,) = shown(home, "ps")["processes"]
    assert (row["host_memory_limit_bytes"], row["memory_limit_bytes"]) == (64 * MIB, None)
