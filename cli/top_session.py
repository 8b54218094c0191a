"""What `gshare top` asks of the controller, on whatever it is drawn; an error becomes the message line."""

from __future__ import annotations

from gshare.cli.top_model import Model, told
from gshare.controller.client import Client
from gshare.controller.errors import GshareError
from gshare.controller.protocol import GetTop, Pause, Request, SetLimits
from gshare.controller.replies import Top


def ask(client: Client) -> Top:
    """What there is to see."""
    reply = client.ask(GetTop())
    assert isinstance(reply, Top)
    return reply


def look(client: Client, model: Model) -> None:
    """See it anew; what was seen last stays where that fails."""
    try:
        model.top = ask(client)
        model.trouble = ""
    except GshareError as error:
        model.trouble = str(error)


def carry_out(client: Client, model: Model, request: Request) -> None:
    """Ask for what a key stands for, and see what became of it."""
    try:
        client.ask(request)
        model.message = _done(request)
    except GshareError as error:
        model.message = str(error)
    look(client, model)


def _done(request: Request) -> str:
    if isinstance(request, Pause):
        return f"{request.target} {'paused' if request.paused else 'goes on'}"
    assert isinstance(request, SetLimits)
    return f"{request.target}: {told(request.change)}"
