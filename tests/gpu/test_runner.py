"""The runner behind run.sh: order, time limits, failing parts, skips, verdicts, on parts that need no GPU."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MODULES = ("runner", "parts", "place", "memory_quota", "compute_share")
MOST_FILES = 8
STAGE_S = 600


@pytest.fixture(scope="module", autouse=True)
def siblings() -> Iterator[dict[str, ModuleType]]:
    """The scripts of this folder, which find each other by it; forgotten afterwards."""
    import importlib

    sys.path.insert(0, str(HERE))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(HERE))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def run(siblings: dict[str, ModuleType], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs parts and tells their outcomes by name."""

    def start(*parts: Any, within_s: float | None = None) -> dict[str, Any]:
        runner = siblings["runner"].Runner(tmp_path, tmp_path / "log.txt", within_s)
        runner.run(parts, say=lambda line: None)
        return {outcome.name: outcome for outcome in runner.outcomes}

    return start


@pytest.fixture
def part(siblings: dict[str, ModuleType]) -> Callable[..., Any]:
    def make(name: str, line: str, limit_s: float = 20.0, **more: Any) -> Any:
        return siblings["runner"].Part(name, f"what {name} is", limit_s, ("sh", "-c", line), **more)

    return make


def test_parts_run_in_order_and_none_stops_the_next(
    run: Callable[..., Any], part: Callable[..., Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    outcomes = run(
        part("first", f"echo 1 >>{trace}"),
        part("second", f"echo 2 >>{trace}; echo broken >&2; exit 3"),
        part("third", f"echo 3 >>{trace}"),
    )
    assert trace.read_text().split() == ["1", "2", "3"]
    assert [outcome.end for outcome in outcomes.values()] == ["passed", "failed", "passed"]
    assert (outcomes["second"].code, outcomes["second"].reason) == (3, "broken")


def test_a_part_over_its_time_is_ended_with_all_that_it_started(
    run: Callable[..., Any], part: Callable[..., Any], tmp_path: Path
) -> None:
    child = tmp_path / "child"
    begin = time.monotonic()
    line = f"sleep 100 & echo $! >{child}; echo before; wait"
    outcomes = run(part("slow", line, 0.5, stdout="slow.txt"), part("next", "true"))
    assert time.monotonic() - begin < 50
    assert outcomes["slow"].end == "time limit"
    assert outcomes["next"].end == "passed"
    assert (tmp_path / "slow.txt").read_text() == "before\n"
    assert not is_running(int(child.read_text()))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_part_that_cannot_run_here_says_why(run: Callable[..., Any], part: Callable[..., Any]) -> None:
    outcomes = run(
        part("known", "exit 1", skip="no compiler"),
        part("found", "echo 'no second GPU' >&2; exit 77"),
        part("absent", "true"),
    )
    assert [outcome.end for outcome in outcomes.values()] == ["skipped", "skipped", "passed"]
    assert outcomes["known"].reason == "no compiler"
    assert outcomes["found"].reason == "no second GPU"


def test_a_part_that_needs_a_failed_one_is_not_tried(
    run: Callable[..., Any], part: Callable[..., Any], tmp_path: Path
) -> None:
    outcomes = run(part("build", "exit 1"), part("tests", f"touch {tmp_path}/tried", after=("build",)))
    assert outcomes["tests"].end == "not tried"
    assert outcomes["tests"].reason == "needs build"
    assert not (tmp_path / "tried").exists()


def test_what_does_not_fit_into_the_time_for_all_is_not_begun(
    run: Callable[..., Any], part: Callable[..., Any]
) -> None:
    outcomes = run(part("late", "true"), within_s=1.0)
    assert outcomes["late"].end == "no time left"


def test_a_part_that_is_paced_is_told_its_minutes(
    siblings: dict[str, ModuleType], run: Callable[..., Any], tmp_path: Path
) -> None:
    def told(within_s: float | None) -> float:
        line = ("sh", "-c", f'echo "$1" >{tmp_path}/told', "sh")
        run(
            siblings["runner"].Part("suite", "what takes what there is", 300, line, paced=True),
            within_s=within_s,
        )
        return float((tmp_path / "told").read_text().removeprefix("--minutes="))

    assert told(None) == 4
    assert 1.5 < told(170) < 2
    assert 0 < told(30) < 0.2


def test_a_program_that_is_not_there_fails_its_part_only(
    siblings: dict[str, ModuleType], run: Callable[..., Any], part: Callable[..., Any]
) -> None:
    absent = siblings["runner"].Part("absent", "what is absent", 5, ("/no/such/program",))
    outcomes = run(absent, part("next", "true"))
    assert [outcome.end for outcome in outcomes.values()] == ["failed", "passed"]
    assert "/no/such/program" in outcomes["absent"].reason


def test_an_interrupted_run_is_not_well(
    siblings: dict[str, ModuleType], part: Callable[..., Any], tmp_path: Path
) -> None:
    module = siblings["runner"]
    runner = module.Runner(tmp_path, tmp_path / "log.txt")
    parts = [part("first", "true"), part("second", "kill -INT $PPID; sleep 20"), part("third", "true")]
    with pytest.raises(KeyboardInterrupt):
        runner.run(parts, say=lambda line: None)
    assert [outcome.end for outcome in runner.outcomes] == ["passed", "interrupted"]
    assert module.table(runner.outcomes).endswith("not well: second")
    assert runner.summary({})["passed"] is False


def test_rows_over_and_not_measured_are_in_the_table(
    siblings: dict[str, ModuleType], run: Callable[..., Any], part: Callable[..., Any], tmp_path: Path
) -> None:
    row = {"name": "a", "value": 1.0, "unit": "ns", "within": True, "note": ""}
    rows = [
        row,
        row | {"name": "b", "value": 9.0, "within": False, "note": "too slow"},
        row | {"name": "c", "value": None, "within": None, "note": "not installed: torch"},
    ]
    (tmp_path / "source.json").write_text(json.dumps({"rows": rows}))
    line = f"cp {tmp_path}/source.json {tmp_path}/rows.json; exit 1"
    outcomes = run(part("bench", line, results="rows.json"))
    assert outcomes["bench"].rows == {"within": 1, "over": 1, "not measured": 1}
    table = siblings["runner"].table(list(outcomes.values()))
    assert "b: over 9 ns; too slow" in table
    assert "c: not measured; not installed: torch" in table
    assert table.endswith("not well: bench")


def test_stages_fit_into_ten_minutes_and_eight_files(siblings: dict[str, ModuleType], tmp_path: Path) -> None:
    parts = siblings["parts"]
    setup = parts.Setup("python3", tmp_path, tmp_path, tmp_path / "site", tmp_path, tmp_path, False)
    found = list(parts.all_parts(setup))
    names = [part.name for _, part in found]
    assert names[0] == "build"
    assert len(set(names)) == len(names)
    for stage in parts.STAGES:
        mine = [part for number, part in found if number in (0, stage)]
        assert sum(part.limit_s for part in mine) <= STAGE_S
        words = {word for part in mine for word in (part.stdout, part.results, *part.command)}
        files = {Path(word).name for word in words if word.endswith((".json", ".xml"))}
        assert len(files | {"log.txt", "summary.json"}) <= MOST_FILES
    for _, part in found:
        assert all(Path(word).exists() for word in part.command if word.startswith(str(HERE)))
        assert all(name in names[: names.index(part.name)] for name in part.after)


GOOD = {
    "total_bytes": 0,
    "info_total_bytes": 0,
    "own_total_bytes": None,
    "refusal": "torch.OutOfMemoryError: CUDA out of memory",
    "got_bytes": 0,
    "again_bytes": 0,
    "right": True,
    "peak_bytes": 0,
}


@pytest.mark.parametrize(
    ("limited", "control", "word"),
    [
        ({}, {}, None),
        ({"total_bytes": 1}, {}, "total_bytes is 1"),
        ({"own_total_bytes": 1}, {}, "own_total_bytes is 1"),
        ({"refusal": "RuntimeError: CUDA error: unknown error"}, {}, "refused by RuntimeError"),
        ({"refusal": None}, {}, "refused by None"),
        ({"got_bytes": 1}, {}, "got 1 bytes"),
        ({"again_bytes": 1}, {}, "once it had given them back"),
        ({"right": False}, {}, "computed something else"),
        ({"peak_bytes": 1 << 60}, {}, "too many"),
        ({}, {"refusal": "torch.OutOfMemoryError"}, "refused without gshare"),
        ({}, {"peak_bytes": 1}, "nothing is shown"),
    ],
)
def test_a_workload_that_is_not_as_it_should_be_is_told(
    siblings: dict[str, ModuleType], limited: dict[str, Any], control: dict[str, Any], word: str | None
) -> None:
    memory = siblings["memory_quota"]
    quota = memory.QUOTA
    as_limited = GOOD | {"total_bytes": quota, "info_total_bytes": quota, "got_bytes": quota // 2}
    as_limited |= {"again_bytes": quota // 4, "peak_bytes": quota}
    as_control = GOOD | {"refusal": None, "peak_bytes": quota + 1}
    workload = next(workload for workload in memory.WORKLOADS if workload.name == "torch_caching")
    found = memory.faults(workload, as_limited | limited, as_control | control, quota + memory.CONTEXT_SHARE)
    assert (len(found), word in " ".join(found)) == (1, True) if word else found == []


class Books:
    """What a device says, look by look; then it stays as it is."""

    def __init__(self, *looks: tuple[int, dict[int, int]]) -> None:
        self.looks = list(looks)
        self.all_read = threading.Event()

    def read(self) -> tuple[int, dict[int, int]]:
        if len(self.looks) == 1:
            self.all_read.set()
            return self.looks[0]
        return self.looks.pop(0)


NEIGHBOUR, ELSEWHERE = 1, 4_000_000


@pytest.mark.parametrize("shown", ["its own pid", "another pid", "none"])
def test_the_watch_takes_the_peak_of_who_is_watched(siblings: dict[str, ModuleType], shown: str) -> None:
    me = {"its own pid": os.getpid(), "another pid": ELSEWHERE, "none": None}[shown]

    def look(used: int, mine: int) -> tuple[int, dict[int, int]]:
        return used, {NEIGHBOUR: 50} | ({me: mine} if me and mine else {})

    books = Books(look(60, 0), look(70, 10), look(100, 40), look(80, 20))
    with siblings["place"].Watch(books, os.getpid()) as watch:
        assert books.all_read.wait(20)
    assert watch.process_peak_bytes == (40 if me else 0)
    assert watch.device_peak_bytes == 40
    assert watch.samples >= 3


def test_a_program_is_ended_with_those_that_hold_its_pipes(siblings: dict[str, ModuleType]) -> None:
    line = ("sh", "-c", "sleep 100 & echo $!; wait")
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    child = os.pidfd_open(int(process.stdout.readline()))
    begin = time.monotonic()
    siblings["place"].end(process)
    assert time.monotonic() - begin < siblings["place"].END_S
    has_ended, _, _ = select.select([child], [], [], 20)
    os.close(child)
    assert has_ended


def test_a_workload_without_its_package_is_skipped_with_the_reason(siblings: dict[str, ModuleType]) -> None:
    missing = siblings["place"].missing
    assert missing(["json", "concurrent.futures"]) == ""
    assert missing(["json", "no_such", "json.no_such"]) == "not installed: no_such, json.no_such"


def test_programs_exist_and_are_python(siblings: dict[str, ModuleType]) -> None:
    for workload in siblings["memory_quota"].WORKLOADS:
        path = HERE / "programs" / f"{workload.program}.py"
        compile(path.read_text(), str(path), "exec")
    for name in "load.py", "load_others.py":
        compile((HERE / "programs" / name).read_text(), name, "exec")


def test_the_interval_of_a_ratio_holds_it(siblings: dict[str, ModuleType]) -> None:
    low, high = siblings["compute_share"].bootstrap([100, 101, 99, 100, 100], [98, 99, 97, 98, 98])
    assert 0.96 < low < 0.98 < high < 1.0


def test_without_a_gpu_the_script_says_so_and_does_nothing(tmp_path: Path) -> None:
    script = ["sh", str(HERE / "run.sh"), "--installed", str(tmp_path / "out")]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    refused = subprocess.run(script, capture_output=True, text=True, check=False, env=hidden)
    assert refused.returncode == 1
    assert "no NVIDIA GPU here" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_script_lists_its_parts_and_refuses_unknown_ones() -> None:
    script = ["sh", str(HERE / "run.sh")]
    listed = subprocess.run([*script, "--list"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in listed.splitlines()][-3:] == ["rates", "shares", "suite"]
    refused = subprocess.run([*script, "--only", "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "no such part: nothing" in refused.stderr
