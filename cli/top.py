"""`gshare top`: devices and tenants, live."""

from __future__ import annotations

import os
import sys
import time

import click
from rich.console import Console, Group
from rich.live import Live

from gshare.cli.keys import keys, single_keys
from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.cli.top_model import Model, told
from gshare.cli.top_view import frame
from gshare.controller.client import Client
from gshare.controller.errors import GshareError, UsageError
from gshare.controller.protocol import GetTop, Pause, Request, SetLimits
from gshare.controller.replies import Top

LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 3600.0
PLAIN_SIZE = (80, 24)
ELSEWHERE = "--once prints one picture, --json a line for each look"


@click.command()
@click.option("--once", is_flag=True, help="Print one picture, on anything.")
@click.option("--interval", type=float, default=1.0, metavar="SEC", help="Between two looks; 1.")
@json_option
def top(once: bool, interval: float, as_json: bool) -> None:
    """Watch devices and tenants: memory, shares asked for and got, a minute of use, who waits.

    q quits, s sorts, / filters, j and k (or arrows) select a tenant, p pauses it or lets it go on, + and -
    change its share or its weight, e its limits as they are then typed: mem 8G compute 30%..60%.
    """
    if not LEAST_INTERVAL_S <= interval <= MOST_INTERVAL_S:
        allowed = f"{LEAST_INTERVAL_S:g} to {MOST_INTERVAL_S:g}"
        raise UsageError(f"--interval {interval:g}", "too often, or too seldom", allowed)
    if as_json:
        _stream(once, interval)
    elif once:
        _once()
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top", "not on a terminal", ELSEWHERE)
    else:
        _live(interval)


def _ask(client: Client) -> Top:
    reply = client.ask(GetTop())
    assert isinstance(reply, Top)
    return reply


def _stream(once: bool, interval: float) -> None:
    client = Client()
    while True:
        print_json(_ask(client))
        if once:
            return
        time.sleep(interval)


def _once() -> None:
    console = Console(highlight=False)
    width, height = console.size if console.is_terminal else PLAIN_SIZE
    lines = frame(Model(_ask(Client())), width, height)[:-1]
    while lines and not lines[-1].plain:
        lines.pop()
    console.print(*lines, sep="\n", soft_wrap=True)


def _live(interval: float) -> None:
    client, console, model = Client(), Console(highlight=False), Model()
    if console.is_dumb_terminal:
        raise UsageError("top", f"TERM={os.environ['TERM']} cannot be drawn on", ELSEWHERE)
    model.top = _ask(client)  # an error here is one line, on the terminal as it was
    with single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        look_at = time.monotonic() + interval
        while not model.done:
            live.update(Group(*frame(model, *console.size)), refresh=True)
            for key in keys(max(look_at - time.monotonic(), 0)):
                _press(client, model, key)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + interval
                _look(client, model)


def _look(client: Client, model: Model) -> None:
    try:
        model.top = _ask(client)
    except GshareError as error:
        model.message = str(error)


def _press(client: Client, model: Model, key: str) -> None:
    request = model.press(key)
    if request is None:
        return
    try:
        client.ask(request)
        model.message = _done(request)
    except GshareError as error:
        model.message = str(error)
    _look(client, model)


def _done(request: Request) -> str:
    if isinstance(request, Pause):
        return f"{request.target} {'paused' if request.paused else 'goes on'}"
    assert isinstance(request, SetLimits)
    return f"{request.target}: {told(request.change)}"
