"""`gshare resume`: see pause.py."""

import click

from gshare.cli.complete import tenants
from gshare.cli.options import json_option
from gshare.cli.pause import ask
from gshare.controller.protocol import Pause


@click.command()
@json_option
@click.argument("target", metavar="TENANT|PID", shell_complete=tenants)
def resume(target: str, as_json: bool) -> None:
    """Let a tenant that was paused go on."""
    ask(Pause(target, False), as_json=as_json)
