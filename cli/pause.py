"""`gshare pause` and `gshare resume`: stop and continue what a tenant does on the GPU."""

import click

from gshare.cli.complete import tenants
from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.controller.client import ADMISSION_TIMEOUT_S, Client
from gshare.controller.protocol import Pause
from gshare.controller.replies import Paused


@click.command()
@json_option
@click.argument("target", metavar="TENANT|PID", shell_complete=tenants)
def pause(target: str, as_json: bool) -> None:
    """Let a running tenant launch nothing more on any GPU: its programs wait in their next launch.

    What has been launched ends; memory stays.  `gshare resume` lets it go on.
    """
    ask(Pause(target, True), as_json=as_json)


def ask(request: Pause, *, as_json: bool) -> None:
    """Ask the controller, and tell what is so now."""
    reply = Client().ask(request, ADMISSION_TIMEOUT_S)
    assert isinstance(reply, Paused)
    if as_json:
        print_json(reply)
    else:
        count = f"{reply.processes} process{'' if reply.processes == 1 else 'es'}"
        click.echo(f"{reply.tenant}: {'paused' if reply.paused else 'running'} ({count})")
