"""What tests/gpu/run.sh runs, in order of value, in four stages that fit into ten minutes each.

Eight files at most come of a stage.  Needs nothing but Python itself: gshare is built by the first part.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import Part

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STAGES = {
    1: "the driver, tests",
    2: "frameworks and memory, overhead",
    3: "frameworks and compute",
    4: "shares, the benchmark suite",
}
TESTS_S = 170
TESTS = ("test_memory.py", "test_share.py", "test_roads.py", "test_probes.py")
SHARES = ("alone_30_1ms", "mix_30_70_200us", "short_long", "kind_graph", "light")
GROUPS = ("overhead", "shares", "priority", "coverage", "models")
"""Of the suite, in order of value: it ends where the time does."""
SHARES_REHEARSED = ("alone_30_1ms", "mix_30_70_200us_concurrent")


@dataclass(frozen=True)
class Setup:
    """Where and how."""

    python: str
    out: Path
    work: Path
    """For what is gone in the end."""
    site: Path | None
    """Where gshare is built; None: it is installed."""
    wheels: Path
    recorder: Path
    """That of tests/golden, as it was brought along."""
    simulated: bool
    rivals: tuple[str, ...] = ()
    """NAME=PATH of each library that the suite compares with."""


def all_parts(setup: Setup) -> Iterator[tuple[int, Part]]:
    """The parts, each with its stage; 0: whichever is run."""
    built = ("build",) if setup.site else ()
    python, gshare = setup.python, (setup.python, "-m", "gshare.cli")
    sim = ("--sim",) if setup.simulated else ()
    forgiven = (1,) if setup.simulated else ()
    bare = (python, str(HERE / "place.py"))
    compiler = shutil.which("cc")
    recorder = setup.work / "recorder" if compiler else setup.recorder
    recorded = ("recorder",) if compiler else ()
    no_recorder = "" if compiler or recorder.exists() else f"no C compiler, and no {recorder}"

    if setup.site:
        build = ("sh", str(HERE / "build.sh"), str(ROOT), str(setup.site), str(setup.wheels))
        yield 0, Part("build", "gshare is built and installed", 60, build)
    yield 1, Part("doctor", "what works here", 20, (*gshare, "doctor"), after=built)
    sources = sorted(map(str, (ROOT / "tests/golden/recorder").glob("*.c")))
    compile_it = ("cc", "-std=gnu17", "-O1", "-o", str(recorder), *sources, "-ldl", "-lpthread")
    brought = "" if compiler else "it was brought along"
    yield 1, Part("recorder", "the recorder is built", 20, compile_it, skip=no_recorder or brought)
    answers = (*bare, str(recorder), str(setup.out / "answers.json"))
    needs = (*built, *recorded)
    yield 1, Part("answers", "what the driver answers", 120, answers, skip=no_recorder, after=needs)
    timings = (*bare, str(recorder), "--timings", str(setup.out / "timings.json"))
    yield 1, Part("timings", "what takes which time", 60, timings, skip=no_recorder, after=needs)
    points = (
        *(python, str(HERE / "open_points.py"), "--output", str(setup.out / "points.json")),
        *("--recorder", str(recorder), "--timings", str(setup.out / "timings.json")),
    )
    what = "slices, switches, costs of calls, checkpoints"
    yield 1, Part("points", what, 100, points, results="points.json", skip=no_recorder, after=needs)
    demo = (*gshare, "demo", *sim, "--json")
    yield (
        1,
        Part("demo", "two shares and a quota", 40, demo, stdout="demo.json", after=built, forgiven=forgiven),
    )
    tests = (
        *(python, "-m", "pytest", *(str(HERE / name) for name in TESTS), "-m", "gpu", "-rA"),
        *("-v", "-p", "no:cacheprovider", "--durations=5", f"--junit-xml={setup.out / 'tests.xml'}"),
        f"--session-timeout={TESTS_S - 20}",  # else nothing is written of those that there was time for
    )
    yield 1, Part("tests", "quotas, shares, roads, and every door to memory", TESTS_S, tests, after=built)
    overhead = (*gshare, "bench", "budgets", "overhead", *sim, "--output", str(setup.out / "overhead.json"))

    memory = (python, str(HERE / "memory_quota.py"), "--output", str(setup.out / "memory.json"))
    yield 2, Part("memory", "each framework at its quota", 430, memory, results="memory.json", after=built)
    yield 2, Part("overhead", "what gshare costs", 100, overhead, results="overhead.json", after=built)

    compute = (python, str(HERE / "compute_share.py"), "--output", str(setup.out / "compute.json"))
    yield 3, Part("compute", "torch at its share", 330, compute, results="compute.json", after=built)
    rates = (python, str(HERE / "compute_share.py"), "--others", "--output", str(setup.out / "rates.json"))
    what = "each framework alone, without limits and at 30 %"
    yield 3, Part("rates", what, 200, rates, results="rates.json", after=built)
    rows = SHARES_REHEARSED if setup.simulated else SHARES
    shares = (
        *(*gshare, "bench", "budgets", "shares", *sim, "--smoke", "--output", str(setup.out / "shares.json")),
        *(f"--row={name}" for name in rows),
    )
    what = "the table of shares, in short"
    results = "shares.json"
    yield 4, Part("shares", what, 100, shares, results=results, after=built, forgiven=forgiven)

    suite = (
        *(*gshare, "bench", *GROUPS[: -1 if setup.simulated else None], *(sim or ("--gpu",)), "--quick"),
        *("--no-report", "--output", str(setup.out / "suite")),
        *(f"--rival={rival}" for rival in setup.rivals),
    )
    what = "the suite, beside no limits, time slices and rivals"
    results = "suite/result.json"
    yield 4, Part("suite", what, 430, suite, results=results, after=built, paced=True)
