"""`gshare kill`: a tenant's processes end, and nobody else's."""

import signal
import sys

import pytest
from waiting import until

from .conftest import Home

SLEEP = ("sh", "-c", "sleep 600 & sleep 600")


def test_it_ends_all_that_a_tenant_runs_and_nobody_else(home: Home) -> None:
    mine = home.start("run", "--sim", "--tenant", "mine", "--mem", "2G", *SLEEP)
    other = home.start("run", "--sim", "--tenant", "other", "--mem", "2G", *SLEEP)
    until(lambda: home.gshare("ps").stdout.count("sleep 600\n") == 6)
    told = home.gshare("kill", "mine")
    assert (told.returncode, told.stdout) == (0, "mine: SIGTERM sent to 3 processes\n"), told.stderr
    assert mine.wait(20) == -signal.SIGTERM
    until(lambda: "mine" not in home.gshare("ps").stdout)
    told = home.gshare("kill", "--signal", "9", str(other.pid))
    assert (told.returncode, told.stdout) == (0, f"{other.pid}: SIGKILL sent to 1 process\n"), told.stderr
    assert other.wait(20) == -signal.SIGKILL
    assert home.gshare("kill", "other").stdout == "other: SIGTERM sent to 2 processes\n"


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["nobody"], 5, "kill nobody: no tenant of this name runs (see gshare ps)"),
        (["1"], 5, "kill 1: no tenant of this name runs (see gshare ps)"),
        (["--signal", "TREM", "x"], 2, "--signal TREM: is no signal (as TERM, KILL or 9)"),
        (["--signal", "0", "x"], 2, "--signal 0: is no signal (as TERM, KILL or 9)"),
    ],
)
def test_what_cannot_be_ended(home: Home, words: list[str], code: int, line: str) -> None:
    told = home.gshare("kill", *words)
    assert (told.returncode, told.stdout, told.stderr) == (code, "", f"gshare: {line}\n")


def test_who_asks_is_not_ended_though_in_the_tenant(home: Home) -> None:
    script = "trap '' TERM; gshare kill mine".replace("gshare", f"{sys.executable} -m gshare.cli")
    told = home.gshare("run", "--sim", "--tenant", "mine", "--mem", "2G", "sh", "-c", script)
    assert (told.returncode, told.stdout) == (0, "mine: SIGTERM sent to 1 process\n")
