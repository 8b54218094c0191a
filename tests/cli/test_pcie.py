"""A limit on copies between host and device, as a person asks for it.

How exactly rates are held is told in tests/shim/test_copy_rate.py.
"""

import json
import sys
from typing import Any

import pytest

from gshare.shim import abi

from .conftest import Allocator, Home

MIB, GIB = 1 << 20, 1 << 30

# Copies 64 MiB in so many pieces, and answers how many milliseconds that took.
COPY = """
import ctypes, sys, time
d, c, p = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_void_p()
assert d.cuInit(0) == d.cuDevicePrimaryCtxRetain(ctypes.byref(c), 0) == d.cuCtxSetCurrent(c) == 0
assert d.cuMemAlloc_v2(ctypes.byref(p), ctypes.c_size_t(64 << 20)) == 0
memory = ctypes.create_string_buffer(64 << 20)
for line in sys.stdin:
    begin, pieces = time.monotonic(), int(line)
    for _ in range(pieces):
        assert d.cuMemcpyHtoD_v2(p, memory, ctypes.c_size_t((64 << 20) // pieces)) == 0
    print(int(1000 * (time.monotonic() - begin)), flush=True)
"""


def copier(home: Home, *options: str) -> Allocator:
    return Allocator(home.start("run", "--sim", *options, "--", sys.executable, "-c", COPY))


def shown(home: Home, *arguments: str) -> Any:
    result = home.gshare(*arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def limits(home: Home, name: str) -> abi.DeviceLimits:
    with abi.Limits(home.run_dir / "tenants" / name / "limits") as file:
        return file.device(0)


def test_who_asks_for_none_is_not_even_measured(home: Home) -> None:
    program = copier(home, "--tenant", "a", "--mem", "4G")
    program.ask(64)
    assert limits(home, "a").copy_bytes_per_s == (0, 0)
    assert limits(home, "a").cap_ppm == abi.NO_CAP_PPM
    (row,) = shown(home, "ps")["processes"]
    assert row["copy_bytes_per_s"] == {}


def test_it_is_held_and_changes_while_programs_run(home: Home) -> None:
    program = copier(home, "--tenant", "a", "--pcie", "h2d=64M/s,d2h=1G/s")
    assert int(program.ask(64)) > 900, "64 MiB at 64 MiB a second, the first hundredth at once"
    assert limits(home, "a").copy_bytes_per_s == (64 * MIB, GIB)
    result = home.gshare("set", "a", "--pcie", "h2d=none")
    assert result.stdout == "a: pcie h2d=64M/s,d2h=1G/s -> d2h=1G/s (1 process)\n"
    assert int(program.ask(64)) < 900
    change = shown(home, "set", "a", "--pcie", "2G/s")
    assert change["old_copy_bytes_per_s"] == {"d2h": GIB}
    assert change["new_copy_bytes_per_s"] == {"h2d": 2 * GIB, "d2h": 2 * GIB}
    assert shown(home, "set", "a", "--mem", "4G")["new_copy_bytes_per_s"] == {"h2d": 2 * GIB, "d2h": 2 * GIB}
    home.gshare("set", "a", "--pcie", "none")
    assert limits(home, "a").copy_bytes_per_s == (0, 0)
    assert limits(home, "a").cap_ppm == abi.NO_CAP_PPM


def test_a_permanent_tenant_has_it_and_a_new_controller_knows_it(home: Home) -> None:
    table = home.gshare("quota", "set", "a", "--pcie", "h2d=1G/s").stdout
    assert "h2d=1G/s" in table
    copier(home, "--tenant", "a").ask(1)
    assert limits(home, "a").copy_bytes_per_s == (GIB, 0)
    assert home.gshare("controller", "stop").returncode == 0
    assert shown(home, "set", "a", "--mem", "4G")["new_copy_bytes_per_s"] == {"h2d": GIB}
    assert limits(home, "a").cap_ppm == abi.METERED_PPM


def test_a_dry_run_tells_of_it(home: Home) -> None:
    text = home.gshare("run", "--sim", "--dry-run", "--pcie", "4G/s", "true").stdout
    assert "# pcie 4G/s\n" in text


@pytest.mark.parametrize(
    ("rate", "line"),
    [
        ("4G", "--pcie 4G: not a rate (a size a second, as 4G/s or h2d=4G/s,d2h=2G/s)"),
        ("up=4G/s", "--pcie up=4G/s: 'up' is no direction (h2d or d2h, as h2d=4G/s)"),
        ("none", "--pcie none: not a rate (a size a second, as 4G/s or h2d=4G/s,d2h=2G/s)"),
    ],
)
def test_what_is_no_rate_is_refused_in_one_line(home: Home, rate: str, line: str) -> None:
    result = home.gshare("run", "--sim", "--pcie", rate, "--", "true")
    assert (result.returncode, result.stderr) == (125, f"gshare: {line}\n")
