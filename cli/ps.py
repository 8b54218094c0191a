"""`gshare ps`: who runs, and what they have and use."""

import click

from gshare.cli.charges import print_charges
from gshare.cli.options import json_option
from gshare.cli.render import print_json, print_processes
from gshare.cli.share_table import print_shares
from gshare.controller.client import Client
from gshare.controller.errors import UsageError
from gshare.controller.protocol import GetMemory, GetProcesses, GetShares
from gshare.controller.replies import MemoryUse, Processes, Shares


@click.command()
@click.option("--memory", is_flag=True, help="What memory is held for, by process and GPU.")
@click.option("--compute", is_flag=True, help="Shares of GPU time over 1, 10, 60 s, by tenant and GPU.")
@json_option
def ps(memory: bool, compute: bool, as_json: bool) -> None:
    """List the processes of all tenants, with memory and compute, used and granted."""
    if memory and compute:
        raise UsageError("ps --memory --compute", "these are two tables", "ask for one, and then the other")
    if memory:
        _memory(as_json=as_json)
        return
    if compute:
        _shares(as_json=as_json)
        return
    reply = Client().ask(GetProcesses())
    assert isinstance(reply, Processes)
    if as_json:
        print_json(reply)
    else:
        print_processes(reply.processes)


def _shares(*, as_json: bool) -> None:
    reply = Client().ask(GetShares())
    assert isinstance(reply, Shares)
    if as_json:
        print_json(reply)
    else:
        print_shares(reply.tenants)


def _memory(*, as_json: bool) -> None:
    reply = Client().ask(GetMemory())
    assert isinstance(reply, MemoryUse)
    if as_json:
        print_json(reply)
    else:
        print_charges(reply.processes)
