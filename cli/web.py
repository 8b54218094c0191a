"""`gshare web`: the page that shows what `top` does."""

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.controller.client import Client
from gshare.controller.http import PORT, parse_port
from gshare.controller.protocol import OpenWeb
from gshare.controller.replies import WebAddress


@click.command()
@click.option("--port", metavar="PORT", help=f"Of loopback; {PORT}, or any where that is taken.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
@json_option
def web(port: str | None, opens: bool, as_json: bool) -> None:
    """Have the controller serve the web page, and print its address.

    It shows what `top` shows, changes nothing, and is for this user's programs on this machine only: from
    elsewhere it is reached by ssh -L 9445:127.0.0.1:9445.  GSHARE_WEB=9445 serves it from the start.
    """
    reply = Client().ask(OpenWeb(None if port is None else parse_port(port, "--port")))
    assert isinstance(reply, WebAddress)
    if as_json:
        print_json(reply)
    else:
        click.echo(reply.address)
    if opens:
        click.launch(reply.address)
