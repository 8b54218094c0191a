"""`gshare ps`: who runs, and what they have and use."""

import click

from gshare.cli.charges import print_charges
from gshare.cli.options import json_option
from gshare.cli.outputs import Strangers
from gshare.cli.render import gpu, print_json, print_processes, print_table, size
from gshare.cli.share_table import print_shares
from gshare.controller.client import Client
from gshare.controller.errors import UsageError
from gshare.controller.protocol import GetMemory, GetProcesses, GetShares, GetTop
from gshare.controller.replies import MemoryUse, Processes, Shares, Top


@click.command()
@click.option("--memory", is_flag=True, help="What memory is held for, by process and GPU.")
@click.option("--compute", is_flag=True, help="Shares of GPU time over 1, 10, 60 s, by tenant and GPU.")
@click.option("--unmanaged", is_flag=True, help="Processes that use a GPU without gshare; no others.")
@json_option
def ps(memory: bool, compute: bool, unmanaged: bool, as_json: bool) -> None:
    """List the processes of all tenants, with memory and compute, used and granted."""
    tables = {"--memory": memory, "--compute": compute, "--unmanaged": unmanaged}
    asked = [name for name, value in tables.items() if value]
    if len(asked) > 1:
        raise UsageError(f"ps {' '.join(asked)}", "these are different tables", "ask for one at a time")
    if unmanaged:
        _unmanaged(as_json=as_json)
        return
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


def _unmanaged(*, as_json: bool) -> None:
    reply = Client().ask(GetTop())
    assert isinstance(reply, Top)
    if as_json:
        print_json(Strangers(reply.unmanaged))
        return
    rows = [
        (
            str(process.pid),
            process.user,
            process.uuid if process.index is None else gpu(process.index, process.simulated),
            size(process.used_bytes),
            process.command,
        )
        for process in reply.unmanaged
    ]
    print_table(("PID", "USER", "GPU", "USED", "COMMAND"), rows)


def _memory(*, as_json: bool) -> None:
    reply = Client().ask(GetMemory())
    assert isinstance(reply, MemoryUse)
    if as_json:
        print_json(reply)
    else:
        print_charges(reply.processes)
