"""A pytest plugin inside a client's own test suite: it says to suites.py what each test does.

It runs in the clients' Python, so it imports nothing of gshare.  Lines of JSON go out on the first descriptor
of GSHARE_SUITE_PIPE; after each the plugin waits for a byte on the second, so that what the simulated machine
counted up to a line belongs to that test.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

OUT, BACK = (int(number) for number in os.environ["GSHARE_SUITE_PIPE"].split(","))
PID = os.getpid()
LONGEST = 400

_seen: dict[str, tuple[str, str]] = {}


def say(**line: Any) -> None:
    if os.getpid() != PID:  # a test that forks and goes on in the child
        return
    os.write(OUT, json.dumps(line).encode() + b"\n")
    os.read(BACK, 1)


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):  # a skip: path, line, reason
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    # The line of the test that failed, and the last error that a process of the test's own wrote.
    lines = re.findall(r"^    (.+)\nE  ", report.longreprtext, re.MULTILINE)[-1:]
    errors = re.findall(r"^[\w.]*Error: .*", report.capstderr, re.MULTILINE)[-1:]
    return " | ".join([str(crash.message if crash else report.longrepr), *lines, *errors])


def _short(why: str) -> str:
    """One line: its beginning and its end."""
    line = re.sub(r"\s+", " ", why)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def pytest_runtest_logstart(nodeid: str) -> None:
    _seen.pop(nodeid, None)
    say(test=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    before = _seen.get(report.nodeid)
    if report.failed:
        if before is None or before[0] != "failed":
            _seen[report.nodeid] = ("failed", _why(report))
    elif report.skipped and before is None and not hasattr(report, "wasxfail"):
        _seen[report.nodeid] = ("skipped", _why(report))


def pytest_runtest_logfinish(nodeid: str) -> None:
    outcome, why = _seen.pop(nodeid, ("passed", ""))
    say(test=nodeid, outcome=outcome, why=_short(why))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed or (report.skipped and isinstance(report.longrepr, tuple)):
        say(test=report.nodeid)
        say(test=report.nodeid, outcome="failed" if report.failed else "skipped", why=_short(_why(report)))


@pytest.fixture(scope="class")
def initialize_from_pytest_config(request: pytest.FixtureRequest) -> None:
    """numba-cuda's test classes ask for this; its own is in a file that the wheel leaves out."""
    request.cls._dump_failed_filechecks = False
