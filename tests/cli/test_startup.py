"""What a run costs before the program starts: ratios of one machine to itself, best of several."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from .conftest import GSHARE, Home

pytestmark = pytest.mark.alone

LEAST, MOST = 8, 45
"""Repeats: one after the other, as both are as fast as they can be only now and then on a busy machine."""
TRIES = 10
CLICK = (sys.executable, "-c", "import click")


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def test_a_run_costs_at_most_twice_what_importing_click_costs(home: Home) -> None:
    home.gshare("controller", "start")
    base_s, run_s = [], []
    while len(run_s) < MOST:
        base_s.append(seconds(lambda: subprocess.run(CLICK, check=True)))
        run_s.append(seconds(lambda: home.cold_gshare("run", "true")))
        if len(run_s) >= LEAST and min(run_s) <= 2 * min(base_s):
            break
    print(f"gshare run true {min(run_s):.3f} s, import click {min(base_s):.3f} s, of {len(run_s)} each")
    assert min(run_s) <= 2 * min(base_s)


def test_a_cold_start_takes_at_most_a_second(home: Home) -> None:
    """On a host so busy that even click takes long to import, at most 15 times that."""
    times, base_s = [], []
    for _ in range(TRIES):
        base_s.append(seconds(lambda: subprocess.run(CLICK, check=True)))
        start = time.perf_counter()
        assert home.cold_gshare("run", "true").returncode == 0
        times.append(time.perf_counter() - start)
        home.gshare("controller", "stop")
        if times[-1] <= 1:
            break
    print("cold start:", [f"{seconds:.2f} s" for seconds in times], f"import click {min(base_s):.3f} s")
    assert min(times) <= max(1, 15 * min(base_s))


def test_a_run_loads_nothing_that_it_does_not_need() -> None:
    script = "import sys, json, gshare.cli.main, gshare.cli.run; print(json.dumps(sorted(sys.modules)))"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = json.loads(child.stdout)
    heavy = {
        "rich",
        "psutil",
        "pynvml",
        "asyncio",
        "subprocess",
        "platformdirs",
        "gshare.shim.abi",
        "gshare.shim.sim",
    }
    assert heavy & set(loaded) == set()


def test_help_loads_no_command() -> None:
    script = (
        "import sys, gshare.cli.main\n"
        "try: gshare.cli.main.main(['--help'])\n"
        "finally: print(sorted(m for m in sys.modules if m.startswith('gshare.cli.')), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr == "['gshare.cli.main']\n"
    assert GSHARE[1:] == ("-m", "gshare.cli")
