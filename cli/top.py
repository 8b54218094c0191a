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
from gshare.cli.top_model import Model
from gshare.cli.top_session import ask, carry_out, look
from gshare.cli.top_view import frame
from gshare.controller.client import Client
from gshare.controller.errors import UsageError

LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 3600.0
PLAIN_SIZE = (80, 24)
ELSEWHERE = "--once prints one picture, --json a line for each look"


@click.command()
@click.option("--once", is_flag=True, help="Print one picture, on anything.")
@click.option("--interval", type=float, default=1.0, metavar="SEC", help="Between two looks; 1.")
@click.option("--textual", is_flag=True, help="With a mouse too; needs pip install 'gshare[textual]'.")
@json_option
def top(once: bool, interval: float, textual: bool, as_json: bool) -> None:
    """Watch devices and tenants: memory, shares asked for and got, a minute of use, who waits.

    q quits, s sorts, / filters, j and k (or arrows) select a tenant, p pauses it or lets it go on, + and -
    change its share or its weight, e its limits as they are then typed: mem 8G compute 30%..60%.
    With --textual a click selects a tenant, or sorts by the column's head, and the wheel scrolls.
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
        (_mouse if textual else _live)(interval)


def _stream(once: bool, interval: float) -> None:
    client = Client()
    while True:
        print_json(ask(client))
        if once:
            return
        time.sleep(interval)


def _once() -> None:
    console = Console(highlight=False)
    width, height = console.size if console.is_terminal else PLAIN_SIZE
    lines = frame(Model(ask(Client())), width, height)[:-1]
    while lines and not lines[-1].plain:
        lines.pop()
    console.print(*lines, sep="\n", soft_wrap=True)


def _begin() -> tuple[Console, Client, Model]:
    """Errors here are one line, on the terminal as it was."""
    console, client = Console(highlight=False), Client()
    if console.is_dumb_terminal:
        raise UsageError("top", f"TERM={os.environ['TERM']} cannot be drawn on", ELSEWHERE)
    return console, client, Model(ask(client))


def _mouse(interval: float) -> None:
    try:
        from gshare.cli.top_textual import TopApp
    except ModuleNotFoundError as error:
        raise UsageError("top --textual", f"needs {error.name}", "pip install 'gshare[textual]'") from None
    _, client, model = _begin()
    app = TopApp(client, model, interval)
    app.run()
    sys.exit(app.return_code)


def _live(interval: float) -> None:
    console, client, model = _begin()
    with single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        look_at = time.monotonic() + interval
        while not model.done:
            live.update(Group(*frame(model, *console.size)), refresh=True)
            for key in keys(max(look_at - time.monotonic(), 0)):
                _press(client, model, key)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + interval
                look(client, model)


def _press(client: Client, model: Model, key: str) -> None:
    request = model.press(key)
    if request is not None:
        carry_out(client, model, request)
