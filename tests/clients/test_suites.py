"""NVIDIA's own test suites do on the simulated GPU what the lists say, and the lists say enough."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import suites
from suite_results import REASONS, Result, differences, judge, read_by_hand, read_list

NAMES = ("numba-cuda", "cuda-bindings", "cuda-core")
QUICK = (
    "test_cuda_memory",
    "test_deallocations",
    "test_host_alloc",
    "test_pinned",
)

STRANGE = """
import os, time, pytest
def test_passes(): pass
def test_aborts(): os.abort()
def test_fails(): assert 1 == 2
def test_hangs(): time.sleep(1000)
def test_forks():
    if os.fork() == 0:
        os._exit(0)
@pytest.mark.skip(reason="needs at least 2 GPUs")
def test_skips(): pass
@pytest.mark.xfail
def test_known(): assert False
"""


def suite(name: str) -> suites.Suite:
    """The suite, where it can run and is of the versions that its list is of."""
    found = suites.find(name)
    if isinstance(found, str):
        pytest.skip(found)
    versions = suites.versions(found)
    if versions not in " ".join(read_list(name).heading):
        pytest.skip(f"the list is not of {versions}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_list_knows_its_reasons_and_four_fifths_pass(name: str) -> None:
    listed = read_list(name)
    assert listed.tests
    assert {reason for _, reason in listed.tests.values()} - {""} <= REASONS.keys()
    assert {outcome for outcome, _ in listed.tests.values()} <= {"passed", "failed", "skipped"}
    assert all(bool(reason) == (outcome == "skipped") for outcome, reason in listed.tests.values())
    assert listed.passed_percent_possible() >= 80
    by_hand, never = read_by_hand(name)
    assert set(by_hand.values()) <= REASONS.keys()
    assert all(listed.tests[test] == ("skipped", reason) for test, reason in by_hand.items())
    assert never <= by_hand.keys()


def test_four_fifths_of_what_needs_no_arithmetic_pass() -> None:
    assert read_list("numba-cuda").passed_percent() >= 80


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (Result("t", "passed"), ("passed", "")),
        (Result("t", "crashed", kernels=1), ("failed", "")),
        (Result("t", "hung", kernels=1), ("failed", "")),
        (Result("t", "failed", "AssertionError: Arrays are not equal", 1), ("skipped", "arithmetic")),
        (Result("t", "failed", "AssertionError: Arrays are not equal", 0), ("failed", "")),
        (Result("t", "failed", "AssertionError: 1424 != 400", 1), ("failed", "")),
        (Result("t", "failed", "CudaAPIError: CUDA_ERROR_INVALID_VALUE", 1), ("failed", "")),
        (Result("t", "failed", "isSuccess(<cudaError_t.cudaErrorInvalidValue: 1>)"), ("skipped", "cudart")),
        (Result("t", "skipped", "Skipped: need more than 1 gpus"), ("skipped", "devices")),
        (Result("t", "skipped", "Skipped: for a reason that nobody knows"), ("failed", "")),
        (Result("by hand", "failed", "AssertionError: 1 != 2"), ("skipped", "hardware")),
        (Result("by hand", "passed"), ("passed", "")),
    ],
)
def test_a_result_is_judged_by_what_it_says(result: Result, verdict: tuple[str, str]) -> None:
    assert judge(result, {"by hand": "hardware"}) == verdict


def test_the_runner_survives_what_tests_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "PYTHON", sys.executable)
    monkeypatch.setattr(suites, "TEST_LIMIT_S", 2)
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_strange.py").write_text(STRANGE)
    strange = suites.Suite("strange", tests, tests)
    results = suites.run_file(strange, tests / "test_strange.py", {"test_strange.py::test_fails"}, tmp_path)
    assert {r.test.partition("::")[2]: r.outcome for r in results} == {
        "test_passes": "passed",
        "test_aborts": "crashed",
        "test_fails": "failed",
        "test_hangs": "hung",
        "test_forks": "passed",
        "test_skips": "skipped",
        "test_known": "passed",
    }
    assert next(r.why for r in results if r.test.endswith("test_fails")) == "never begun"


@pytest.mark.timeout(300)
def test_some_of_numba_does_what_its_list_says(tmp_path: Path) -> None:
    judged, _ = suites.run(suite("numba-cuda"), [f"cudadrv/{name}" for name in QUICK], tmp_path)
    assert len(judged) > 30
    assert differences(read_list("numba-cuda"), judged, whole=False) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_a_suite_does_what_its_list_says(name: str, tmp_path: Path) -> None:
    judged, _ = suites.run(suite(name), [], tmp_path)
    assert differences(read_list(name), judged, whole=True) == []
