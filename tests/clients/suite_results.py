"""What NVIDIA's own test suites do on the simulated GPU: the reasons, the rules, and the lists.

A test of a suite passes, fails, or is skipped for one of six reasons.  A test that fails because the
simulator is asked for what it does not do (it computes nothing, and imitates nobody's private tables) counts
as skipped, by a rule below or by a line of expected/by_hand.txt; every other failure is the simulator's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXPECTED = Path(__file__).parent / "expected"

REASONS = {
    "arithmetic": "checks what a kernel computed, printed or raised: the simulated GPU computes nothing",
    "cudart": "goes through NVIDIA's own CUDA runtime, which needs the driver's private tables",
    "library": "needs a library, tool or file that the wheels do not bring (cupy, torch, cuFile, fixtures)",
    "devices": "needs more than one device, or links between devices",
    "platform": "for another system (graphics, Windows, no GPU, a plain user), or turned off by the suite",
    "hardware": "needs hardware or a driver that this card does not have (MIG, fans, CUDA 13.1, more memory)",
}


@dataclass(frozen=True)
class Result:
    """What one test did: the outcome as pytest says it, "crashed" or "hung"; kernels that ran during it."""

    test: str
    outcome: str
    why: str = ""
    kernels: int = 0


# The suite's own words for a skip, any of them; the first reason that has one.
SKIPS = {
    "devices": (
        r"at least (2|3|two)|2\+ GPUs|multi-GPU|multiple GPUs|more than 1 gpus|No two GPUs|two different",
        r"[Pp]eer access",
    ),
    "platform": (
        r"pyglet|GL context|WSL|graphics|[Ww]indows|libNVVM is available|NVML is available",
        r"LTO should not error",
        r"Always skip|Disabled temporarily|Requires PR|no longer exist|in the simulator|semantics differ",
        r"When new attributes were|Cannot create a directory|[Pp]ermission|backend regression|Bad triple",
        r"warning not applicable|setuptools|insert_unresolved_ref|External streams are usable|CUDASIM",
        r"not yet implemented|conda installed|reconstructed type differs|no type-specific",
        r"driver backend test",
    ),
    "hardware": (
        r"13\.1|CUDA driver 13|PTX version too new|requires sm_|compute capability|CC >=|Device Filter",
        r"for device architecture|No MIG|No NVML units|no fans|no coolers|page_retirement|does not support",
        r"CUDA 13\.2|pre-Hopper|GPU Direct RDMA|backfill-only",
        r"not supported|mempool operations|unmet system requirement",
    ),
    "library": (
        r"cupy|CuPy|torch|PyTorch|cuFile|not available|not installed|No module named|could not import",
        r"binaries not generated|TEST_BIN_DIR|requires lto|package requirement|PEP 723|CUDA_DEBUG_POLY",
        r"nvdisasm|DLPack for bfloat16|does not recognize",
    ),
}

# What a failure says when it compares data that a kernel should have made.
COMPUTED = (
    r"Arrays are not|Not equal to tolerance|Mismatched elements|when comparing|compare_buffer|Lists differ",
    r"np\.(float|int|uint|bool|complex|True_|False_)|array\(|truth value of an empty array|c_bool",
    r"not raised|DID NOT RAISE|NRT stats are disabled|not found in '|within .* (places|delta)",
    r"Items are not equal|np\.(record|void)\(|'input_tuple' is not defined|result == expected|rig\.\w+ ==",
    r"[Ee]xpected .* got|assert (out|result)\[|outside toler|allclose|array_equal|isnan|isinf|almost equal",
    r"assertTrue\((np\.)?all\(",
)


def _says(why: str, patterns: tuple[str, ...]) -> bool:
    return any(re.search(pattern, why) for pattern in patterns)


def judge(result: Result, by_hand: dict[str, str]) -> tuple[str, str]:
    """Return "passed", "failed" or "skipped" and, for a skipped test, which of the six reasons."""
    if result.outcome in ("passed", "crashed", "hung"):
        return ("failed" if result.outcome != "passed" else "passed"), ""
    if result.test in by_hand:
        return "skipped", by_hand[result.test]
    if result.outcome == "skipped":
        reason = next((reason for reason, words in SKIPS.items() if _says(result.why, words)), "")
        return ("skipped" if reason else "failed"), reason
    if re.search(r"cudaError|Cudart Error", result.why):
        return "skipped", "cudart"
    if re.search(r"No module named '(test_|Cython)", result.why):  # to be compiled first, or not installed
        return "skipped", "library"
    if result.kernels > 0 and _says(result.why, COMPUTED):
        return "skipped", "arithmetic"
    return "failed", ""


def read_by_hand(suite: str) -> tuple[dict[str, str], set[str]]:
    """Return the reasons of expected/by_hand.txt, and the tests that are never begun."""
    reasons: dict[str, str] = {}
    never: set[str] = set()
    for line in (EXPECTED / "by_hand.txt").read_text().splitlines():
        text = line.partition("  #")[0].strip()
        if text and not text.startswith("#"):
            name, reason, test = text.split(" ", 2)
            if name == suite:
                reasons[test] = reason.removesuffix("!")
                if reason.endswith("!"):
                    never.add(test)
    return reasons, never


@dataclass
class Listed:
    """A list of expected/: each test with what it does."""

    heading: list[str]
    tests: dict[str, tuple[str, str]]

    def counts(self) -> Counter[str]:
        return Counter(f"{outcome} {reason}".strip() for outcome, reason in self.tests.values())

    def passed_percent(self) -> float:
        """Of the tests that need no arithmetic."""
        return percent(self.tests.values(), "arithmetic")

    def passed_percent_possible(self) -> float:
        """Of the tests that none of the six reasons rules out."""
        return percent(self.tests.values(), *REASONS)


def percent(tests: Iterable[tuple[str, str]], *without: str) -> float:
    asked = [outcome for outcome, reason in tests if reason not in without]
    return 100 * asked.count("passed") / len(asked) if asked else 100.0


def read_list(suite: str) -> Listed:
    heading, tests = [], {}
    path = EXPECTED / f"{suite}.txt"
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("#"):
            heading.append(line[1:].strip())
        elif line:
            outcome, _, test = line.partition(" ")
            what, _, reason = outcome.partition(":")
            tests[test] = (what, reason)
    return Listed(heading, tests)


def write_list(suite: str, listed: Listed) -> None:
    lines = [f"# {line}" for line in listed.heading]
    for test, (outcome, reason) in sorted(listed.tests.items()):
        lines.append(f"{outcome}:{reason} {test}" if reason else f"{outcome} {test}")
    (EXPECTED / f"{suite}.txt").write_text("\n".join(lines) + "\n")


def differences(expected: Listed, found: dict[str, tuple[str, str]], whole: bool) -> list[str]:
    """Return a line for each test that does not do what the list says; `whole`: all of the suite ran."""
    lines = []
    for test, now in sorted(found.items()):
        before = expected.tests.get(test)
        if before != now:
            lines.append(f"{test}: {_say(before)} -> {_say(now)}")
    if whole:
        lines += [f"{test}: gone" for test in sorted(expected.tests.keys() - found.keys())]
    return lines


def _say(what: tuple[str, str] | None) -> str:
    return "not listed" if what is None else " ".join(what).strip()
