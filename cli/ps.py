"""`gshare ps`: who runs, and what they have and use."""

import click

from gshare.cli.charges import print_charges
from gshare.cli.options import json_option
from gshare.cli.render import print_json, print_processes
from gshare.controller.client import Client
from gshare.controller.protocol import GetMemory, GetProcesses
from gshare.controller.replies import MemoryUse, Processes


@click.command()
@click.option("--memory", is_flag=True, help="What memory is held for, by process and GPU.")
@json_option
def ps(memory: bool, as_json: bool) -> None:
    """List the processes of all tenants, with memory and compute, used and granted."""
    if memory:
        _memory(as_json=as_json)
        return
    reply = Client().ask(GetProcesses())
    assert isinstance(reply, Processes)
    if as_json:
        print_json(reply)
    else:
        print_processes(reply.processes)


def _memory(*, as_json: bool) -> None:
    reply = Client().ask(GetMemory())
    assert isinstance(reply, MemoryUse)
    if as_json:
        print_json(reply)
    else:
        print_charges(reply.processes)
