"""A user's tenant has the user in its name where a controller is for all, and is asked about without."""

import os
from typing import Any

import pytest
from machine_wide import everybodys
from users import ALICE, BOB, needs_root, users

from gshare.cli.main import gshare
from gshare.controller.client import Client
from gshare.controller.follow import latest
from gshare.controller.paths import Runtime

pytestmark = needs_root


def events_of(directory: str, tenant: str) -> list[tuple[str, str]]:
    """As whoever calls this sees them."""
    return [(event["tenant"], event["what"]) for event in latest(Client(Runtime(directory)), 5, tenant)]


def command(directory: str, *words: str) -> Any:
    """What `gshare WORDS` comes to for whoever calls this: its exit code, or the error's name."""
    os.environ["GSHARE_RUNTIME_DIR"] = directory
    try:
        return gshare.main(list(words), standalone_mode=False)
    except Exception as error:
        return type(error).__name__


def test_a_short_name_is_the_users_own(capfd: pytest.CaptureFixture[str]) -> None:
    with everybodys() as machine, users((ALICE, ()), (BOB, ())) as (alice, bob):
        machine.ask(machine.admission("train"), alice)
        machine.ask(machine.admission("train"), bob)
        where, full = str(machine.runtime.directory), f"train@{ALICE}"
        assert alice.call(events_of, where, "train") == [(full, "started")]
        assert alice.call(events_of, where, full) == [(full, "started")]
        assert alice.call(events_of, where, "other") == []
        assert events_of(where, "train") == [], "who administrates has to say whose"
        assert len(events_of(where, "")) == 2
        for words in (("why", "train"), ("why", full), ("events", "--tenant", full)):
            assert alice.call(command, where, *words) is None, words
        assert alice.call(command, where, "why", f"train@{BOB}") == "NoSuchThing"
        assert full in capfd.readouterr().out
