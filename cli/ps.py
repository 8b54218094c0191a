"""`gshare ps`: who runs, and what they have and use."""

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_json, print_processes
from gshare.controller.client import Client
from gshare.controller.protocol import GetProcesses, Processes


@click.command()
@json_option
def ps(as_json: bool) -> None:
    """List the processes of all tenants, with memory and compute, used and granted."""
    reply = Client().ask(GetProcesses())
    assert isinstance(reply, Processes)
    if as_json:
        print_json(reply)
    else:
        print_processes(reply.processes)
