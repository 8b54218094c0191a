"""`gshare kill`: end a tenant's processes; whose they are the kernel asks, as of any signal."""

import os
import signal
from contextlib import ExitStack

import click

from gshare.cli.complete import tenants
from gshare.controller.client import HOST_VARIABLE, Client
from gshare.controller.errors import NoSuchThing, NotPermitted, UsageError
from gshare.controller.protocol import GetProcesses
from gshare.controller.replies import Processes


@click.command()
@click.option("--signal", "name", metavar="NAME|NUMBER", default="TERM", help="Another than TERM, as KILL.")
@click.argument("target", metavar="TENANT|PID", shell_complete=tenants)
def kill(name: str, target: str) -> None:
    """Ask all processes of a running tenant to end, or one process of one.

    What they held is given back as they end; a permanent tenant's quota stays.
    """
    number = _signal(name)
    if os.environ.get(HOST_VARIABLE):
        raise UsageError(f"kill {target}", "ends no programs of another machine", "gshare kill there")
    with ExitStack() as opened:
        processes = {}
        for pid in _processes(target):
            try:
                processes[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            opened.callback(os.close, processes[pid])
        # Whoever is still there by that number now is who was opened.
        sent = [pid for pid in _processes(target) & processes.keys() if _send(processes[pid], pid, number)]
    if not sent:
        raise NoSuchThing(f"kill {target}", "no tenant of this name runs", "see gshare ps")
    count = f"{len(sent)} process{'' if len(sent) == 1 else 'es'}"
    click.echo(f"{target}: SIG{number.name.removeprefix('SIG')} sent to {count}")


def _signal(name: str) -> signal.Signals:
    try:
        return (
            signal.Signals(int(name)) if name.isdigit() else signal.Signals[f"SIG{name.removeprefix('SIG')}"]
        )
    except (KeyError, ValueError):
        raise UsageError(f"--signal {name}", "is no signal", "as TERM, KILL or 9") from None


def _processes(target: str) -> set[int]:
    """Those of a tenant, or the one of this number; never ourselves, who may be in it."""
    reply = Client().ask(GetProcesses())
    assert isinstance(reply, Processes)
    names = {target, f"{target}@{os.getuid()}"}
    meant = {one.pid for one in reply.processes if one.tenant in names or str(one.pid) == target}
    return meant - {os.getpid()}


def _send(process: int, pid: int, number: signal.Signals) -> bool:
    """Whether it was there to be sent to."""
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise NotPermitted(f"kill {pid}", "it is another user's process", "ask its user, or root") from None
    return True
