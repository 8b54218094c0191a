"""Every measured number in README comes from a file in benchmarks/results/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gshare.benchmarks.suite import headline, record

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## )", README, re.M | re.S)
    assert found, title
    return found[1]


MEASURED = section("Beside others")
SUITE = RESULTS / "2026-11-22-suite-simulated" / "result.json"


def test_the_table_is_that_of_the_result() -> None:
    assert str(SUITE.relative_to(ROOT)) in MEASURED
    assert headline.render(record.load(SUITE)) in MEASURED


def test_outside_the_table_the_section_has_only_numbers_of_the_run() -> None:
    result = record.load(SUITE)
    words = re.sub(r"^\|.*$", "", MEASURED, flags=re.M)
    words = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", words, flags=re.S)
    known = {str(result.options.blocks), "95", result.date[:10]}
    known |= {f"{load:g}" for load in (result.machine.load_before[0], result.machine.load_after[0])}
    for metric in result.metrics:
        known |= {headline.number(v.median) for v in metric.arms.values() if v.median is not None}
    numbers = re.findall(r"(?<![\w.-])\d[\d.]*(?:-\d\d-\d\d)?(?<!\.)", words)
    assert set(numbers) <= known, set(numbers) - known


def test_the_shares_that_are_within_their_targets_are_those_of_the_results() -> None:
    said = re.search(
        r"of (\d+) rows (\d+) are within\s+their\s+targets,\s+with other kernels (\d+) and (\d+)", README
    )
    named = re.search(r"`(benchmarks/results/[^`]*shares[^`]*)/?`", README)
    assert said
    assert named
    of, *within = map(int, said.groups())
    for name, count in zip(("shares", "shares-seed-1", "shares-seed-2"), within, strict=True):
        rows = json.loads((ROOT / named[1] / f"{name}.json").read_text())["rows"]
        counted = [row["within"] for row in rows if row["within"] is not None]
        assert (len(counted), counted.count(True)) == (of, count)


def test_the_random_programs_are_those_of_the_log() -> None:
    said = re.search(r"(\d+) of them with\s+([\d.]+) million calls\s+\(`([^`]*)`\)", README)
    assert said
    ran = re.search(r"(\d+) programs, (\d+) calls", (RESULTS / said[3]).read_text())
    assert ran
    assert (said[1], said[2]) == (ran[1], f"{int(ran[2]) / 1e6:.1f}")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"20\d\d-\d\d-\d\d-[\w.-]+", README))))
def test_a_result_that_is_named_is_there(name: str) -> None:
    assert (RESULTS / name.rstrip(".")).exists()


def test_a_wrong_number_is_found() -> None:
    """The control."""
    result = record.load(SUITE)
    table = headline.render(result)
    result.metrics[0].arms["gshare"].median = 1.5 * (result.metrics[0].arms["gshare"].median or 1)
    assert headline.render(result) != table
