"""The command as a process among others: Ctrl-C at any moment, closed streams, a locale without letters."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

from .conftest import GSHARE, Home

CLOSED = {">&-": (1,), "<&- >&- 2>&-": (0, 1, 2)}


def test_ctrl_c_while_it_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(20)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [*GSHARE, "--version"], check=False, capture_output=True, text=True, env=environment
    )
    assert (told.returncode, told.stdout, told.stderr) == (-signal.SIGINT, "", "")


INTERRUPTED = {
    "in a command": """
from gshare.cli import main
def interrupted(*_, **__): raise KeyboardInterrupt
main.gshare.main = interrupted
main.main(["ps"])
""",
    "just before it becomes the program": """
import os, signal
from gshare.cli import run
os.execve = lambda *_: os.kill(os.getpid(), signal.SIGINT)
run.become("/bin/true", ("true",), {})
""",
}


@pytest.mark.parametrize("moment", INTERRUPTED)
def test_ctrl_c_ends_it_by_the_signal(moment: str) -> None:
    """And so the loop of a shell, which goes on after any exit code, and ends if a signal ended its child."""
    command = [sys.executable, "-c", INTERRUPTED[moment]]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("closed", CLOSED)
def test_streams_that_are_closed_are_nobodys_trouble(home: Home, closed: str) -> None:
    """Even where a controller is started meanwhile; and what is run finds them closed."""
    look = " && ".join(f"test ! -e /proc/self/fd/{number}" for number in CLOSED[closed])
    for arguments in (["run", "--sim", "--mem", "2G", "sh", "-c", look], ["ps"]):
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *GSHARE, *arguments]
        told = subprocess.run(command, check=False, capture_output=True, text=True, env=home.environment)
        assert (told.returncode, told.stderr) == (0, ""), arguments


def test_what_a_locale_has_no_letters_for_is_a_question_mark(home: Home) -> None:
    home.start("run", "--sim", "--mem", "2G", "sleep", "20")
    until(lambda: "sleep" in home.gshare("ps").stdout)
    environment = {**home.environment, "PYTHONIOENCODING": "latin-1"}
    told = home.cold_gshare("top", "--once", env=environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert "NVIDIA H200" in told.stdout
    assert "???" in told.stdout


def test_signals_that_are_ignored_or_held_back_are_the_programs_and_not_the_controllers(home: Home) -> None:
    look = [*GSHARE, "run", "--sim", "--mem", "2G", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]
    script = (
        "import os, signal\n"
        "for number in (1, 10, 15, 17): signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])\n"
        f"os.execv({look[0]!r}, {look!r})\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=home.environment
    )
    assert (told.returncode, told.stderr) == (0, "")
    sets = {(line[:6], int(line[8:], 16)) for line in told.stdout.splitlines()}
    wanted = [signal.SIGTERM, signal.SIGUSR2], [signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]
    masks = [sum(1 << number - 1 for number in numbers) for numbers in wanted]
    assert sets == {("SigBlk", masks[0]), ("SigIgn", masks[1])}
    pid = json.loads(home.gshare("status", "--json").stdout)["controller"]["pid"]
    os.kill(pid, signal.SIGTERM)
    until(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize("said", ["soon", "nan"])
def test_a_controller_that_is_told_nonsense_says_so(home: Home, said: str) -> None:
    environment = {**home.environment, "GSHARE_IDLE_EXIT_S": said}
    told = home.gshare("run", "--sim", "--mem", "2G", "true", env=environment)
    reason = f"GSHARE_IDLE_EXIT_S {said}: not a number of seconds (as 60)"
    assert told.returncode == 125
    assert told.stderr.startswith(f"gshare: controller: did not start: {reason}"), told.stderr


def test_no_program_is_not_a_directory(home: Home) -> None:
    told = home.gshare("run", "--sim", "")
    assert (told.returncode, told.stderr) == (127, "gshare: '': no such program ($PATH was searched)\n")
    told = home.gshare("run", "--sim", "/tmp")
    assert (told.returncode, told.stderr) == (126, "gshare: /tmp: is a directory\n")
