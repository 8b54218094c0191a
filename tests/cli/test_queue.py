"""`gshare run --wait` and `gshare queue`: who waits is let in some time, or gives up, or is killed."""

import json
import os
import signal
import subprocess
import time

import pytest
from waiting import PATIENCE_S, until

from gshare.controller.client import Client
from gshare.controller.paths import Runtime
from gshare.controller.protocol import GetQueue
from gshare.controller.replies import Queue, Waiting

from .conftest import Home


def queued(home: Home) -> list[Waiting]:
    reply = Client(Runtime(home.run_dir), start=False).ask(GetQueue())
    assert isinstance(reply, Queue)
    return reply.waiting


@pytest.fixture
def full(home: Home) -> subprocess.Popen[str]:
    """A program that has most of the GPU's memory, and then the whole of it promised."""
    child = home.start(
        "run", "--sim=t4", "--mem", "75%", "--tenant", "big", "--", "sh", "-c", "echo up; exec cat"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def test_who_waits_is_let_in_when_there_is_room(home: Home, full: subprocess.Popen[str]) -> None:
    waiter = home.start("run", "--sim", "--mem", "50%", "--wait", "echo", "in")
    until(lambda: queued(home))
    reply = json.loads(home.gshare("queue", "--json").stdout)
    (row,) = reply["waiting"]
    assert (reply["schema"], row["place"], row["pid"]) == ("gshare/queue/v1", 1, waiter.pid)
    assert (row["memory_ppm"], row["command"]) == (500_000, "echo in")
    assert "left to promise of" in row["why"]
    assert "big" in row["why"]
    table = home.gshare("queue").stdout.splitlines()
    assert table[0].split()[:3] == ["PLACE", "USER", "PID"]
    assert table[1].split()[2] == str(waiter.pid)
    small = home.gshare("run", "--sim", "--mem", "10%", "echo", "small")  # it fits beside, and need not wait
    assert (small.returncode, small.stdout) == (0, "small\n")
    full.kill()
    output, errors = waiter.communicate(timeout=PATIENCE_S)
    assert (waiter.returncode, output) == (0, "in\n")
    assert errors.count("\n") == 1
    assert errors.startswith("gshare: --mem 7.3G: GPU 0 has 3.6G left to promise of 14.7G; big 11G holds")
    assert errors.endswith("(waiting, 1 of 1; see gshare queue)\n")
    assert queued(home) == []
    what = [json.loads(line)["what"] for line in (home.run_dir / "events.jsonl").read_text().splitlines()]
    assert what.count("queued") == 1
    assert "dequeued" not in what


def test_who_gives_up_ends_with_124(home: Home, full: subprocess.Popen[str]) -> None:
    result = home.gshare("run", "--sim", "--mem", "50%", "--wait=0.3", "echo", "in")
    assert (result.returncode, result.stdout) == (124, "")
    first, last = result.stderr.splitlines()
    assert "waiting, 1 of 1" in first
    assert last.startswith("gshare: --wait=0.3: there was no room: --mem 7.3G: GPU 0 has 3.6G left")
    until(lambda: queued(home) == [])


def test_what_can_never_be_is_not_waited_for(home: Home) -> None:
    for limits, words in ((["--mem", "500G"], "is more than GPU 0 has"), (["--gpu", "7"], "no such GPU")):
        result = home.gshare("run", "--sim", *limits, "--wait", "true")
        assert result.returncode == 125
        assert words in result.stderr


def test_a_killed_waiter_is_gone_at_once(home: Home, full: subprocess.Popen[str]) -> None:
    waiters = [home.start("run", "--sim", "--mem", "50%", "--wait", "true") for _ in range(2)]
    until(lambda: len(queued(home)) == 2)
    waiters[0].kill()
    waiters[0].wait()
    begin = time.monotonic()
    until(lambda: len(queued(home)) == 1)
    assert time.monotonic() - begin < 5  # it does not take until it would have asked again
    assert queued(home)[0].pid == waiters[1].pid
    os.kill(waiters[1].pid, signal.SIGINT)
    until(lambda: queued(home) == [])


def test_a_new_controller_has_the_same_queue(home: Home, full: subprocess.Popen[str]) -> None:
    waiters = []
    for _ in range(3):
        waiters.append(home.start("run", "--sim", "--mem", "50%", "--wait", "cat"))
        until(lambda: len(queued(home)) == len(waiters))
    before = [row.pid for row in queued(home)]
    assert before == [waiter.pid for waiter in waiters]
    os.kill(int((home.run_dir / "controller.lock").read_text()), signal.SIGKILL)
    home.gshare("ps")  # starts a controller, unless somebody who waits has done so
    until(lambda: len(queued(home)) == 3)
    assert [row.pid for row in queued(home)] == before
    full.kill()
    until(lambda: len(queued(home)) == 1)  # two halves fit; the first two have them
    assert queued(home)[0].pid == waiters[2].pid


def test_placement_is_on_one_gpu(home: Home) -> None:
    def gpus(*options: str) -> list[int]:
        result = home.gshare("run", "--sim=t4*3", *options, "--dry-run", "--json", "true")
        assert result.returncode == 0, result.stderr
        decision = json.loads(result.stdout)
        assert decision["environment"]["CUDA_VISIBLE_DEVICES"] == decision["devices"][0]["uuid"]
        return [device["index"] for device in decision["devices"]]

    assert home.gshare("sim", "start", "t4*3").returncode == 0
    for index, share in ((1, "60%"), (2, "20%")):
        child = home.start(
            "run", "--sim", "--gpu", str(index), "--mem", share, "sh", "-c", "echo up; exec cat"
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
    assert gpus("--mem", "30%", "--placement", "best-fit") == [1]
    assert gpus("--mem", "50%", "--placement", "best-fit") == [2]
    assert gpus("--mem", "30%", "--placement", "spread", "--gpu", "1,2") == [2]
    result = home.gshare("run", "--sim", "--mem", "90%", "--placement", "spread", "--gpu", "1,2", "true")
    assert result.returncode == 125
    assert "GPU 1 has" in result.stderr
    assert ", or GPU 2 has" in result.stderr
