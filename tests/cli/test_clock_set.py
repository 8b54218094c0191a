"""The machine's clock is set while gshare runs: only the dates of events change."""

import json
import subprocess
import time
from typing import Any

import pytest

from .conftest import TIMEOUT_S, Home

DAY_S = 86400
SET = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("TEST_CLOCK_OFFSET"), "r") : 0;
    long offset = 0;
    if (file) {
        if (fscanf(file, "%ld", &offset) == 1)
            now->tv_sec += offset;
        fclose(file);
    }
    return result;
}
"""


@pytest.fixture
def clock(home: Home) -> Any:
    """Sets what the controller takes for the date, so many seconds off."""
    library, offset = home.folder / "clock.so", home.folder / "offset"
    words = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(words, input=SET, text=True, check=True)
    offset.write_text("0")
    apart = {"LD_PRELOAD": str(library), "TEST_CLOCK_OFFSET": str(offset)}
    started = home.gshare("controller", "start", env={**home.environment, **apart})
    assert started.returncode == 0, started.stderr
    return lambda seconds: offset.write_text(str(seconds))


def dates(home: Home) -> list[int]:
    """Of all events so far, in days from today."""
    told = json.loads(home.gshare("events", "--json").stdout)["events"]
    return [round((event["time_ns"] / 1e9 - time.time()) / DAY_S) for event in told]


def test_a_clock_that_is_set_changes_nothing_but_the_times_of_events(home: Home, clock: Any) -> None:
    program = home.allocator("--tenant", "a", "--mem", "2G", "--compute", "60%")
    program.memory()
    waiter = home.start("run", "--sim", "--wait=50", "--tenant", "b", "--compute", "60%", "--", "true")
    while not json.loads(home.gshare("queue", "--json").stdout)["waiting"]:
        assert waiter.poll() is None
    for days in (1, -1):
        clock(days * DAY_S)
        assert home.gshare("set", "a", "--mem", f"{3 + days}G").returncode == 0
        assert program.memory()[1] == (3 + days) << 30
        assert waiter.poll() is None, "it waits on, and is not told that its time is over"
        assert dates(home)[-1] == days, "the control: the controller has seen the other date"
    assert len(json.loads(home.gshare("ps", "--json").stdout)["processes"]) == 1
    program.child.kill()
    assert waiter.wait(TIMEOUT_S) == 0
    assert sorted(set(dates(home))) == [-1, 0, 1]
