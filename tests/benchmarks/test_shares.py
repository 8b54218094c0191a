"""`gshare bench shares`: what is made of samples, what a row's verdict is, and small rows from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gshare.benchmarks import share_cases, share_picture, shares
from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.results import Row
from gshare.benchmarks.share_stats import Sample

MS = 1_000_000
STEP_MS = 100


def samples(*shares_percent: tuple[float, ...], step_ms: int = STEP_MS, charge: float = 1.0) -> list[Sample]:
    """One more than there are shares: a tenth of the time goes to switches."""
    found = [Sample(0, 0, 0, (0,) * len(shares_percent[0]), (0,) * len(shares_percent[0]))]
    for percents in shares_percent:
        last, left_ns = found[-1], step_ms * MS * 9 // 10
        gpu_ns = tuple(g + round(p / 100 * left_ns) for g, p in zip(last.gpu_ns, percents, strict=True))
        charged = tuple(round(g * charge) for g in gpu_ns)
        elapsed_ns, left = last.elapsed_ns + step_ms * MS, last.left_ns + left_ns
        found.append(Sample(elapsed_ns, left, sum(gpu_ns), gpu_ns, charged))
    return found


def test_shares_are_of_the_time_that_switches_leave() -> None:
    run = samples((30, 70))
    assert stats.shares(run[0], run[1]) == pytest.approx([30, 70])


def test_every_second_counts() -> None:
    run = samples(*[(30.0, 70.0)] * 10, *[(35.0, 65.0)] * 10, *[(30.0, 70.0)] * 10)
    assert len(list(stats.windows(run))) == 21
    assert stats.points_off(run, [30, 70]) == pytest.approx(5)
    assert stats.points_off(run, [None, 66]) == pytest.approx(4)
    assert stats.points_off(run[:11], [30, 70]) == pytest.approx(0)


def test_charges_are_held_against_the_busy_time() -> None:
    assert stats.charges_off(samples(*[(30.0, 50.0)] * 12, charge=0.96)) == pytest.approx([0.96, 0.96])


def test_an_idle_device_has_no_charges() -> None:
    run = samples(*[(0.0,)] * 10, *[(50.0,)] * 10)
    assert stats.charges_off(run) == pytest.approx([1, 1])


def test_jain() -> None:
    assert stats.jain([2, 2, 2, 2]) == pytest.approx(1)
    assert stats.jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert stats.jain([0, 0]) == 0
    assert stats.jain([1, 3]) == pytest.approx(16 / 20)


def test_percentiles() -> None:
    values = list(range(1, 201))[::-1]
    assert stats.percentile(values, 99) == 198
    assert stats.percentile(values, 100) == 200
    assert stats.percentile([7], 1) == 7


def test_a_reaction_takes_until_the_shares_stay_right() -> None:
    late = samples(*[(20.0, 80.0)] * 3, *[(80.0, 20.0)] * 17)
    assert stats.settled_ms(late, 0, [80, 20], 0.05) == pytest.approx(300)
    assert stats.settled_ms(late, 300 * MS, [80, 20], 0.05) == pytest.approx(0)
    assert stats.settled_ms(late, 0, [None, 20], 0.05) == pytest.approx(300)
    back = samples(*[(80.0, 20.0)] * 10, *[(50.0, 50.0)] * 10)
    assert stats.settled_ms(back, 0, [80, 20], 0.05) is None


def test_who_gets_nothing_waits() -> None:
    run = samples((50, 50), (0, 50), (0, 50), (50, 0), (50, 50))
    assert stats.longest_wait_ms(run) == [200 + STEP_MS - STEP_MS, 100]


def test_a_wait_that_goes_on_at_the_end_counts() -> None:
    assert stats.longest_wait_ms(samples((50,), (0,), (0,), (0,))) == [300]


@pytest.mark.parametrize(
    ("value", "at_least", "within"),
    [(3.0, False, True), (3.01, False, False), (3.0, True, True), (2.99, True, False)],
)
def test_verdicts(value: float, at_least: bool, within: bool) -> None:
    row = verdict(value, at_least)
    assert row.within is within
    assert row.budget == 3
    assert row.details["target"] == f"{'>=' if at_least else '<='} 3 points"


def verdict(value: float | None, at_least: bool = False, **details: str) -> Row:
    target = share_cases.Target("what", 3, "points", at_least)
    return share_cases.verdict("row", target, "turns", share_cases.Found(value, details=details))


def test_what_never_came_is_over_and_what_was_not_measured_is_neither() -> None:
    assert verdict(None).within is False
    assert verdict(None, note="not measured").within is None


def test_the_worst_time_slice_counts() -> None:
    most, least = share_cases.Target("", 3), share_cases.Target("", 3, at_least=True)
    found = [share_cases.Found(value) for value in (2.0, 5.0, 1.0)]
    assert share_cases.worst_of(most, found).value == 5
    assert share_cases.worst_of(least, found).value == 1
    assert share_cases.worst_of(most, [*found, share_cases.Found(None)]).value is None


def test_a_picture_has_the_shares_in_tenths_of_a_second() -> None:
    times, columns = share_picture.bins(samples(*[(20.0, 80.0)] * 10, step_ms=50))
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert columns[0] == pytest.approx([20] * 5)
    assert columns[1] == pytest.approx([80] * 5)


def test_every_row_has_a_name_of_its_own() -> None:
    names = [case.row_name for case in shares.all_cases()]
    assert len(set(names)) == len(names)
    assert all(any(name.startswith(smoke) for name in names) for smoke in shares.SMOKE_CASES)


def bench(tmp_path: Path, *options: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    output = tmp_path / "shares.json"
    command = [sys.executable, "-m", "gshare.cli", "bench", "shares", "--sim", "--output", str(output)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    rows = json.loads(output.read_text())["rows"] if output.exists() else []
    return done.returncode, {row["name"]: row for row in rows}, done.stdout + done.stderr


def test_one_tenant_alone_from_end_to_end(tmp_path: Path) -> None:
    code, rows, said = bench(tmp_path, "--smoke", "--row", "alone_30_1ms", "--row", "charges_concurrent")
    assert code == 0, said
    row = rows["alone_30_1ms_concurrent"]
    assert row["within"] is True
    assert 0 < row["value"] <= row["budget"] == 1
    assert row["details"]["found"][0]["got"] == pytest.approx([30], abs=1)
    assert rows["charges_concurrent"]["details"]["found"][0]["runs"] == 1


def test_what_kernels_take_alone_tells_the_same_as_the_simulated_gpu(tmp_path: Path) -> None:
    """The truth of a real GPU, where there is another one to hold it against."""
    got = []
    for options in (), ("--by-work",):
        _, rows, said = bench(tmp_path, "--smoke", "--sigma=0", "--row", "mix_30_70_200us_conc", *options)
        assert rows, said
        got.append(rows["mix_30_70_200us_concurrent"]["details"]["found"][0]["got"])
    assert got[0] == pytest.approx(got[1], abs=1)


def test_without_gshare_shares_are_not_met() -> None:
    """The control: the row can fail."""
    equal = samples(*[(50.0, 50.0)] * 20)
    off = stats.points_off(equal, [30, 70])
    assert verdict(off).within is False


def test_an_unknown_row_is_named(tmp_path: Path) -> None:
    code, rows, said = bench(tmp_path, "--row", "nonsense")
    assert code == 2
    assert not rows
    assert "nonsense" in said
    assert "mix_30_70_200us_turns" in said


def test_other_benchmarks_have_no_pictures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gshare.cli", "bench", "overhead", "--pictures", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--pictures is for `gshare bench budgets shares`" in done.stderr
