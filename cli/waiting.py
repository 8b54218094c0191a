"""`gshare run --wait`: ask until there is room."""

import time

import click
import msgspec

from gshare.controller.client import ADMISSION_TIMEOUT_S, Client
from gshare.controller.errors import WaitedInVain
from gshare.controller.protocol import Admit
from gshare.controller.replies import Admitted, Queued

FOREVER_MS = 1 << 50


def ask(client: Client, request: Admit, wait_s: float | None) -> Admitted:
    """What the controller decides, after `wait_s` at the latest; None: at once.

    Raises WaitedInVain where there was no room for so long.  A controller that comes meanwhile is asked, too.
    """
    begin = time.monotonic_ns()
    told = False
    while True:
        waited_s = (time.monotonic_ns() - begin) / 1e9
        if wait_s is not None:
            left_ms = max(int(min(wait_s - waited_s, FOREVER_MS / 1000) * 1000), 0)
            request = msgspec.structs.replace(request, wait_ms=left_ms, since_ns=begin)
        reply = client.ask(request, ADMISSION_TIMEOUT_S)
        if not isinstance(reply, Queued):
            assert isinstance(reply, Admitted)
            return reply
        if wait_s is not None and (time.monotonic_ns() - begin) / 1e9 >= wait_s:
            why = f"there was no room: {reply.what}: {reply.why}"
            raise WaitedInVain(f"--wait={wait_s:g}", why, "ask for less, or wait for longer")
        if not told:
            place = f"waiting, {reply.place} of {reply.waiting}; see gshare queue"
            click.echo(f"gshare: {reply.what}: {reply.why} ({place})", err=True)
            told = True
