"""Calls reach the driver once, whoever else is preloaded and however many threads begin at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from interception import HOOKED, Programs, Road, preloaded, run

from gshare.shim import LIBRARY


@pytest.mark.parametrize("way", ["BY_NEXT", "BY_HANDLE", "BY_LOOKUP"])
@pytest.mark.parametrize("shim_first", [True, False], ids=["shim first", "neighbour first"])
def test_another_preloaded_library_goes_on_working(
    programs: Programs, build: Callable[..., Path], shim_first: bool, way: str
) -> None:
    """A linked program's calls pass both libraries, and reach the driver once, in either order."""
    assert {"cuInit", "cuLaunchKernel"} <= HOOKED
    neighbour = build(f"libneighbour-{way}.so", "neighbour.c", options=["-shared", f"-D{way}"])
    order = [LIBRARY, neighbour] if shim_first else [neighbour, LIBRARY]
    done = programs.call("linked", ["cuInit", "cuLaunchKernel"], *order)

    assert (done.returncode, done.stdout) == (0, "cuInit\t0\t1\ncuLaunchKernel\t0\t1\n")
    assert done.stderr == "neighbour: cuInit\nneighbour: cuLaunchKernel\n"


def test_a_neighbours_own_lookup_leads_to_the_hook_first(
    programs: Programs, build: Callable[..., Path]
) -> None:
    """It gives out its own function, the one that REAL() goes to: the program passes the shim first."""
    options = ["-shared", "-DHOOKS_LOOKUP", "-Wl,-Bsymbolic"]
    neighbour = build("libneighbour-lookup.so", "neighbour.c", options=options)
    road = Road("linked lookup", ("linked-lookup",), linked=True)
    answers = programs.take(road, ["cuLaunchKernel 13000 0", "cuCtxGetLimit 13000 0"], LIBRARY, neighbour)

    assert [answer.is_hook for answer in answers.values()] == [True, False]


def test_a_neighbour_off_the_road_changes_nothing(programs: Programs, build: Callable[..., Path]) -> None:
    """A program that asks the driver itself for a function never met the neighbour, and does not now."""
    neighbour = build("libneighbour.so", "neighbour.c", options=["-shared"])
    done = programs.call("dlsym", ["cuInit", "cuLaunchKernel"], neighbour, LIBRARY)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "cuInit\t0\t1\ncuLaunchKernel\t0\t1\n"


@pytest.mark.parametrize("road", ["linked", "dlsym"])
def test_without_limits_each_hook_reaches_the_driver_once(programs: Programs, road: str) -> None:
    hooks = sorted(n for n in HOOKED if n.startswith("cu") and not n.startswith("cuGetProcAddress"))
    done = programs.call(road, hooks, LIBRARY)

    assert (done.returncode, done.stderr) == (0, "")
    assert dict(line.split("\t", 1) for line in done.stdout.splitlines()) == dict.fromkeys(hooks, "0\t1")


@pytest.mark.parametrize("attempt", range(5))
def test_threads_and_a_forked_child_may_race_for_the_first_call(
    programs: Programs, build: Callable[..., Path], attempt: int
) -> None:
    environ = {**programs.environ, "LD_LIBRARY_PATH": str(programs.files["driver"].parent)}
    done = run([build("race", "race.c")], preloaded(environ, LIBRARY))

    assert (done.stdout, done.stderr) == ("16 of 16 succeeded, 16 found the same, child 0\n", "")


def test_a_call_is_hooked_at_every_moment_of_a_process(
    programs: Programs, build: Callable[..., Path]
) -> None:
    driver = programs.files["driver"]
    link = ["-Wl,--no-as-needed", f"-L{driver.parent}", f"-l:{driver.name}"]
    early = build("libearly.so", "moments.c", options=["-shared", "-DEARLY", *link])
    program = build("moments", "moments.c", options=link)
    environ = {**programs.environ, "LD_LIBRARY_PATH": str(driver.parent)}
    done = run([program], preloaded(environ, LIBRARY, early))

    moments = ["fork before the first call", "main", "fork", "constructor", "vfork and exec", "exit"]
    assert done.stdout.splitlines() == [f"{moment}: 0 0 {LIBRARY}" for moment in ["constructor", *moments]]
    assert (done.returncode, done.stderr) == (0, "")
