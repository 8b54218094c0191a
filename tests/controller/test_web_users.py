"""Real users at the web page of a machine-wide controller: everybody is shown what is theirs."""

import asyncio
import encodings.idna  # noqa: F401 - later, as another user, it may not be readable
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from machine_wide import Everybodys, everybodys
from users import ALICE, BOB, needs_root, users

from gshare.controller import identity
from gshare.controller.errors import NotPermitted
from gshare.controller.http import Content, Site
from gshare.controller.identity import Credentials
from gshare.controller.protocol import OpenWeb

pytestmark = needs_root

GROUP = 54321


@pytest.fixture(scope="module")
def machine() -> Iterator[Everybodys]:
    with everybodys() as made:
        yield made


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def test_everybody_is_shown_their_own(machine: Everybodys) -> None:
    with users((ALICE, ()), (BOB, ())) as (alice, bob):
        machine.ask(machine.admission("train"), alice)
        with pytest.raises(NotPermitted, match="web page"):
            machine.ask(OpenWeb(), bob)
        address = machine.ask(OpenWeb(0)).address
        assert machine.ask(OpenWeb(), bob).address == address
        shown = {
            who: [row["tenant"] for row in json.loads(text)["tenants"]]
            for who, text in (
                ("alice", alice.call(get, f"{address}api/top.json")),
                ("bob", bob.call(get, f"{address}api/top.json")),
                ("root", get(f"{address}api/top.json")),
            )
        }
        assert shown == {"alice": [f"train@{ALICE}"], "bob": [], "root": [f"train@{ALICE}"]}
        assert "train@" not in bob.call(get, f"{address}metrics")
        assert "train@" in alice.call(get, f"{address}metrics")
        assert "<title>gshare" in bob.call(get, address)


def test_groups_are_those_of_the_process_that_asks() -> None:
    def page(who: Credentials) -> Content:
        return Content("text/plain", json.dumps([who.uid, sorted(identity.peer(who).groups)]).encode())

    site, loop, ready = Site({"/": page}), asyncio.new_event_loop(), threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(site.open(0))
        ready.set()
        loop.run_forever()

    async def ended() -> None:
        while site._connections:
            await asyncio.sleep(0.01)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        assert ready.wait(20)
        with users((ALICE, (GROUP,)), (BOB, ())) as (alice, bob):
            uid, groups = json.loads(alice.call(get, site.address))
            assert (uid, GROUP in groups) == (ALICE, True)
            uid, groups = json.loads(bob.call(get, site.address))
            assert (uid, GROUP in groups) == (BOB, False)
        assert json.loads(get(site.address))[0] == os.geteuid()
    finally:
        asyncio.run_coroutine_threadsafe(ended(), loop).result(20)
        asyncio.run_coroutine_threadsafe(site.close(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        serving.join()
        loop.close()
