"""The suite's own parts: intervals, order, what is done already, verdicts, records, comparisons; all pure."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import msgspec
import pytest

from gshare.benchmarks.suite import compare, record, stats
from gshare.benchmarks.suite.arms import BUILT_IN, Arm
from gshare.benchmarks.suite.controls import Control, acts, control, lacking
from gshare.benchmarks.suite.ground import Ground, Load, prefer_turns
from gshare.benchmarks.suite.groups.makespan import JOB
from gshare.benchmarks.suite.groups.priority import REQUESTS
from gshare.benchmarks.suite.metrics import DIFFERENCE, HIGHER, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.plan import Journal, Step, steps
from gshare.benchmarks.suite.record import ArmValues, Run
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.run import GROUPS, _Blocks, _one, trials
from gshare.benchmarks.suite.within import within

LATENCY = Metric("a.latency", "a latency", "ns")
ERROR = Metric("a.error", "an error", "points", compared=DIFFERENCE, must=5)
SATURATES: Load = {"ns": 1_000_000}
SCORE = Metric("a.score", "a score", "%", HIGHER, compared=DIFFERENCE)


def blocks(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


# -------- intervals --------


def test_an_interval_holds_the_median_and_says_the_same_again() -> None:
    found = stats.interval([1, 2, 3, 4, 100])
    assert found.median == 3
    assert 1 <= found.low <= 3 <= found.high <= 100
    assert stats.interval([1, 2, 3, 4, 100]) == found


def test_more_blocks_make_it_narrower() -> None:
    few, many = (stats.interval([1.0, 2.0, 3.0] * times) for times in (1, 20))
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(
    ("metric", "ours", "theirs", "verdict"),
    [
        (LATENCY, blocks(10, 11, 12, 10, 11, 12), blocks(20, 22, 24, 20, 22, 24), stats.BETTER),
        (LATENCY, blocks(20, 22, 24, 20, 22, 24), blocks(10, 11, 12, 10, 11, 12), stats.WORSE),
        (LATENCY, blocks(*[10, 20, 30] * 2), blocks(*[20, 10, 30] * 2), stats.SAME),
        (LATENCY, blocks(*[10] * 5), blocks(*[20] * 5), stats.FEW),
        (SCORE, blocks(*[100] * 6), blocks(*[50] * 6), stats.BETTER),
        (ERROR, blocks(*[0] * 6), blocks(*[0] * 6), stats.SAME),
        (ERROR, blocks(*[0] * 6), blocks(*[1, 2, 1] * 2), stats.BETTER),
    ],
)
def test_a_win_is_claimed_only_if_the_whole_interval_says_so(
    metric: Metric, ours: dict[int, float], theirs: dict[int, float], verdict: str
) -> None:
    held = stats.compare(metric, ours, theirs)
    assert held is not None
    assert held.verdict == verdict


def test_only_blocks_that_both_have_are_paired() -> None:
    assert stats.paired({0: 10, 2: 30}, {2: 15, 3: 1}, "ratio") == [2]
    assert stats.compare(LATENCY, {0: 1}, {1: 1}) is None


# -------- order --------


def test_every_arm_has_every_trial_in_every_block_in_random_order() -> None:
    names = [(f"t{i}", False) for i in range(5)]
    found = list(steps(names, ["a", "b", "c"], 4, seed=1))
    assert Counter(found) == Counter(
        Step(b, f"t{t}", arm) for b in range(4) for t in range(5) for arm in "abc"
    )
    assert [step.block for step in found] == sorted(step.block for step in found)
    for first in range(0, len(found), 3):
        assert len({step.trial for step in found[first : first + 3]}) == 1, "arms of a trial stay together"
    orders = {tuple(step.arm for step in found[i : i + 3]) for i in range(0, len(found), 3)}
    assert len(orders) > 2
    assert list(steps(names, ["a", "b", "c"], 4, seed=1)) == found


def test_the_first_block_in_which_time_may_end_goes_group_by_group() -> None:
    names = [(f"{group}.{i}", False) for group in ("b", "a") for i in range(4)]
    found = list(steps(names, ["x"], 2, seed=1))
    groups = [step.trial.partition(".")[0] for step in found]
    assert groups[:8] == ["b"] * 4 + ["a"] * 4
    assert groups[8:] not in (groups[:8], sorted(groups[:8]))


def test_what_comes_out_the_same_is_run_once() -> None:
    found = list(steps([("t", True), ("u", False)], ["a"], 3, seed=1))
    assert Counter(step.trial for step in found) == {"t": 1, "u": 3}


def test_a_stopped_run_goes_on_and_another_plan_begins_anew(tmp_path: Path) -> None:
    path, plan = tmp_path / "partial", {"blocks": 3}
    journal = Journal(path, plan)
    journal.add(Run("t", "g", "a", 0, 1.5, {"x": 2.0}))
    with path.open("a") as file:
        file.write('{"trial": "t", "gro')  # killed while it wrote
    again = Journal(path, plan)
    assert again.done == {Step(0, "g.t", "a")}
    assert again.runs[0].values == {"x": 2.0}
    again.add(Run("t", "g", "b", 0, 1.5))
    assert Journal(path, plan).done == {Step(0, "g.t", "a"), Step(0, "g.t", "b")}
    assert Journal(path, {"blocks": 4}).runs == []


def test_a_journal_on_a_full_disk_keeps_what_it_has(tmp_path: Path) -> None:
    """Nothing is written anew when it is opened; half a line goes with the next one that opens it."""
    path, plan = tmp_path / "partial", {"blocks": 3}
    Journal(path, plan).add(Run("t", "g", "a", 0, 1.5))
    kept, inode = path.read_bytes(), path.stat().st_ino
    for half in b'{"trial": "t"', b"not JSON\n", b"\xff\n":
        path.write_bytes(kept + half)
        again = Journal(path, plan)
        assert (path.read_bytes(), path.stat().st_ino) == (kept, inode)
    again.add(Run("t", "g", "b", 0, 1.5))
    assert len(Journal(path, plan).runs) == 2


# -------- who is measured --------


def test_one_program_without_limits_is_native_and_several_are_time_sliced() -> None:
    alone, several = trial(), replace(trial(), several=True)
    assert not alone.skipped(BUILT_IN["native"])
    assert alone.skipped(BUILT_IN["timeslice"])
    assert several.skipped(BUILT_IN["native"])
    assert not several.skipped(BUILT_IN["timeslice"])


def test_an_arm_is_not_measured_in_what_it_does_not_offer_and_the_control_is() -> None:
    capped = replace(trial(), needs=frozenset({"compute"}))
    assert capped.skipped(Arm("nvshare")) == "not offered: compute"
    assert not capped.skipped(BUILT_IN["native"])
    assert not capped.skipped(BUILT_IN["gshare"])


def test_limits_that_do_not_act_are_no_numbers() -> None:
    found = [
        Control("hami", "compute", False, "a probe gets 100 %", {}),
        Control("hami", "memory", True, "", {}),
    ]
    assert lacking(found, frozenset({"memory"})) == ""
    assert lacking(found, frozenset({"compute"})) == "not in effect: a probe gets 100 %"


def test_who_shows_nothing_has_no_numbers_even_of_what_needs_no_limits() -> None:
    """A library that is not loaded costs nothing."""
    refused = Control("hami", "memory", True, "", {})
    unheld = Control("hami", "compute", False, "a probe gets 100 %", {})
    assert acts([unheld]) == "not in effect: a probe gets 100 %"
    assert acts([unheld, refused]) == acts([]) == ""
    calls = trials(["overhead"])[0]
    assert lacking([unheld, refused], calls.shown_by(Arm("hami", frozenset({"memory", "compute"}))))
    assert calls.shown_by(Arm("nvshare", frozenset({"turns"}))) == {"turns"}


def test_a_load_counts_only_where_its_own_cap_was_seen_to_hold() -> None:
    probe = Probe(ns=20_000_000, percent=30)
    capped = replace(trial(), needs=frozenset({"compute"}), probe=probe)
    hami = Arm("hami", frozenset({"compute"}))
    short, long = Control("hami", "compute", True, "", {}), Control("hami", probe.what, False, "unheld", {})
    assert lacking([short, long], capped.shown_by(hami)) == "not in effect: unheld"
    assert lacking([short, long], replace(capped, probe=Probe(100_000, 30)).shown_by(hami)) == ""
    assert replace(capped, needs=frozenset()).shown_by(Arm("nvshare")) == frozenset()


def test_who_offers_priority_must_have_shown_it_and_who_does_not_is_measured_without() -> None:
    requests = replace(trial(), uses=frozenset({"priority"}))
    assert requests.shown_by(Arm("xsched", frozenset({"priority"}))) == {"priority"}
    assert requests.shown_by(Arm("nvshare")) == frozenset()


@pytest.mark.parametrize(
    ("loads", "asks", "turns"),
    [
        ([SATURATES, SATURATES], [Ask(weight=1)] * 2, True),
        ([SATURATES], [Ask(percent=30)], False),
        ([JOB, JOB], [Ask(weight=1)] * 2, True),
        ([JOB, SATURATES], [Ask(percent=90), Ask(percent=10)], False),
        ([REQUESTS, SATURATES], [Ask(percent=50)] * 2, False),
        ([SATURATES, SATURATES], [Ask(priority="high"), Ask(priority="low")], False),
    ],
)
def test_turns_are_taken_by_those_who_could_use_all_they_have(
    loads: list[Load], asks: list[Ask], turns: bool
) -> None:
    assert prefer_turns(list(zip(loads, asks, strict=True))) is turns


def trial(metrics: tuple[Metric, ...] = (ERROR,)) -> Trial:
    return Trial("t", "g", metrics, lambda ground, arm, block: Found({}))


def made(**values: list[float]) -> list[record.MetricResult]:
    """The metric of a trial in which arms have these values."""
    runs = [
        Run("t", "g", arm, i, 1, {ERROR.id: v}) for arm, many in values.items() for i, v in enumerate(many)
    ]
    some = [BUILT_IN[name] for name in ("native", "gshare", "timeslice")]
    return record.metric_results([trial()], some, runs, {("g.t", "timeslice"): "one program alone"})


def test_a_control_that_does_not_fail_voids_the_metric() -> None:
    assert made(native=[70, 71, 70], gshare=[1, 1, 1])[0].control_failed is True
    assert made(native=[4, 4, 4], gshare=[1, 1, 1])[0].control_failed is False
    assert result(native=[4, 4, 4], gshare=[1, 1, 1]).within_budget is False
    assert made(gshare=[1, 1, 1])[0].control_failed is False, "it gave no number, and must"
    alone = record.metric_results([trial()], [BUILT_IN["gshare"]], [], {})
    assert alone[0].control_failed is None


def test_a_metric_has_numbers_or_reasons() -> None:
    (found,) = made(native=[70, 71, 70] * 2, gshare=[1, 2, 1] * 2)
    assert found.arms["gshare"].median == 1
    assert found.arms["timeslice"] == ArmValues(skipped="one program alone")
    assert found.against["native"].verdict == stats.BETTER
    assert "gshare" not in found.against


def test_what_failed_says_why() -> None:
    runs = [Run("t", "g", "gshare", 0, 1, failed="failed: it ended with 1")]
    (found,) = record.metric_results([trial()], [BUILT_IN["gshare"]], runs, {})
    assert found.arms["gshare"].skipped == "failed: it ended with 1"


class OfABinding(Exception):
    """As NVIDIA's for Python raises, where a container does not tell."""


def test_whatever_goes_wrong_is_said_and_ends_nothing_else() -> None:
    def fails(*unused: object) -> Found:
        raise OfABinding("not supported")

    ground = cast(Ground, SimpleNamespace(ask=fails, stage=fails, place=SimpleNamespace(virtual=True)))
    run = _one(ground, replace(trial(), run=fails), BUILT_IN["gshare"], Step(0, "g.t", "gshare"))
    assert run.failed == "failed: OfABinding: not supported"
    found = list(control(ground, BUILT_IN["gshare"], []))
    assert [one.in_effect for one in found] == [False] * 3
    assert {one.why for one in found} == {"not supported"}


# -------- results --------


def result(**values: list[float]) -> record.Result:
    return record.result(
        simulated=True,
        device="NVIDIA H200",
        driver="13.0",
        date=record.now(),
        revision="abc",
        seconds=1.0,
        machine=record.machine([1, 1, 1], {}),
        options=record.Options(["g"], ["native", "gshare", "timeslice"], 3, True, True, {}),
        controls=[Control("gshare", "memory", True, "", {"total": 1})],
        metrics=made(**values),
        runs=[],
    )


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    found, path = result(native=[70, 70, 70], gshare=[1, 1, 1]), tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(found))
    assert record.load(path) == found
    stored: dict[str, Any] = json.loads(path.read_text())
    assert stored["schema"] == "gshare/bench/v1"
    assert stored["simulated"] is True
    assert {"device", "driver", "date", "revision", "machine", "runs"} <= stored.keys()


@pytest.mark.parametrize("name", ["date", "metrics", "simulated"])
def test_what_lacks_a_field_is_no_result(tmp_path: Path, name: str) -> None:
    stored = json.loads(msgspec.json.encode(result(gshare=[1, 1, 1])))
    del stored[name]
    (tmp_path / "result.json").write_text(json.dumps(stored))
    with pytest.raises(msgspec.ValidationError, match=name):
        record.load(tmp_path / "result.json")
    assert name in record.json_schema()["$defs"]["Result"]["required"]


def test_comparing_tells_what_moved_by_more_than_the_intervals() -> None:
    before, after = (
        result(native=[70, 70, 70], gshare=[3, 4, 5]),
        result(native=[70, 71, 70], gshare=[1, 1, 2]),
    )
    found = {change.arm: change for change in compare.changes(before, after)}
    assert found["gshare"].verdict == stats.BETTER
    assert found["native"].verdict == stats.SAME
    back = {change.arm: change.verdict for change in compare.changes(after, before)}
    assert back["gshare"] == stats.WORSE


def test_comparing_tells_what_is_there_no_more() -> None:
    found = list(compare.changes(result(native=[70] * 3, gshare=[1] * 3), result(native=[70] * 3)))
    assert {change.arm: change.verdict for change in found}["gshare"] == compare.VANISHED


# -------- environments --------


def test_every_group_has_trials_with_names_of_their_own() -> None:
    found = trials(GROUPS)
    assert {one.group for one in found} == set(GROUPS)
    names = [record.trial_key(one) for one in found]
    assert len(set(names)) == len(names)
    ids = [metric.id for one in found for metric in one.metrics]
    assert len(set(ids)) == len(ids)
    assert all(metric.id.startswith(one.group + ".") for one in found for metric in one.metrics)


PROGRAM = """
import json, sys
*names, ms = sys.argv[1:]
for name in names:
    if name == "lstm_train":
        print(json.dumps({"error": "out of memory"}), flush=True)
        continue
    print(json.dumps({"ready": True}), flush=True)
    if sys.stdin.readline():
        print(json.dumps({"ms": json.loads(ms)}), flush=True)
"""


def test_models_are_begun_together_and_read_one_after_another(tmp_path: Path) -> None:
    """With programs that say what they are told to."""

    class Scripted:
        quick = True
        place = SimpleNamespace(virtual=False)
        held_after_s: ClassVar[dict[tuple[str, Probe], float]] = {}

        def folder(self) -> Path:
            return tmp_path

        def start(self, arm: Arm, ask: Ask, case: list[str], folder: Path) -> subprocess.Popen[str]:
            _, _, *names = case
            # those of the first half second do not count
            ms = {30.0: [20.0] * (25 + 30), 70.0: [5.0] * (100 + 70)}.get(
                ask.percent or 0, [2.0 if ask.priority else 1.0] * 10
            )
            command = [sys.executable, "-S", "-c", PROGRAM, *names, json.dumps(ms)]
            pipe = subprocess.PIPE
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    by_name = {one.name: one for one in trials(["models"])}
    scripted, gshare = cast(Ground, Scripted()), BUILT_IN["gshare"]
    values = {**by_name["matmul_30_70"].run(scripted, gshare, 0).values}
    assert values == {"models.matmul_30_70": 0}
    assert by_name["beside"].run(scripted, gshare, 0).values == {
        "models.beside": 2,
        "models.beside_left": 100,
    }
    alone = by_name["alone"].run(scripted, gshare, 0)
    assert alone.values == {
        metric.id: 1000 for metric in by_name["alone"].metrics if metric.id != "models.lstm_train"
    }
    assert alone.details["failed"] == {"lstm_train": "out of memory"}


def test_in_a_container_memory_is_what_all_have_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML lists the host's pids there, or none, or does not tell."""
    used = iter([500, 800, 400, 900])
    listed = [SimpleNamespace(pid=7, usedGpuMemory=200), SimpleNamespace(pid=8, usedGpuMemory=None)]
    nvml = SimpleNamespace(
        NVMLError=OfABinding,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=next(used)),
        nvmlDeviceGetComputeRunningProcesses=lambda handle: listed,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    place, device = SimpleNamespace(simulated=False), SimpleNamespace(uuid="GPU-1")
    ground = Ground(None, place, device, quick=True)  # type: ignore[arg-type]
    assert [ground.taken_bytes(pid) for pid in (7, 8, 9)] == [200, 300, 0]

    def refuses(handle: object) -> None:
        raise OfABinding("not supported")

    nvml.nvmlDeviceGetComputeRunningProcesses = refuses
    assert ground.taken_bytes(7) == 400


def test_no_block_is_begun_that_would_end_too_late() -> None:
    clock = _Blocks(begin_s=100, most_s=60)
    assert clock.goes_on(0, 150), "the first is always begun"
    assert clock.goes_on(0, 160)
    assert not clock.goes_on(0, 161)
    assert not clock.goes_on(1, 156)
    roomy = _Blocks(begin_s=100, most_s=60)
    assert [roomy.goes_on(block, 110 + 15 * block) for block in range(4)] == [True, True, True, False]


def test_what_hangs_is_ended() -> None:
    with pytest.raises(TimeoutError), within(0.05):
        time.sleep(60)
    with within(60):
        pass


def test_the_schema_that_is_written_down_is_that_of_results() -> None:
    written = Path(__file__).resolve().parents[2] / "docs" / "bench.schema.json"
    assert json.loads(written.read_text()) == record.json_schema()
