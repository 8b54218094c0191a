"""`gshare controller`: start and stop it by hand; `gshare run` starts one by itself."""

import os
import sys
import time

import click

from gshare.cli.config import check_config, reload
from gshare.cli.install import install
from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.cli.upgrade import upgrade
from gshare.controller import remote
from gshare.controller.client import Client, lives
from gshare.controller.errors import ControllerUnreachable, NotPermitted
from gshare.controller.launch import start_controller
from gshare.controller.lock import controller_lives, controller_pid
from gshare.controller.paths import machine_runtime, runtime, state_directory
from gshare.controller.protocol import GetStatus, Stop
from gshare.controller.replies import Status, Stopping
from gshare.controller.units import parse_seconds

STOP_TIMEOUT_S = 5.0


@click.group()
def controller() -> None:
    """The process that owns the limits."""


@controller.command()
@click.option("--foreground", is_flag=True, help="Stay in this terminal, and log to it.")
@click.option("--idle-exit", metavar="SEC", help="End after this long idle; 0: never.")
@click.option("--machine-wide", is_flag=True, help="For all users of this machine; needs root.")
def start(foreground: bool, idle_exit: str | None, machine_wide: bool) -> None:
    """Start the controller unless one runs."""
    where = machine_runtime() if machine_wide else runtime()
    options = []
    if idle_exit is not None:
        parse_seconds(idle_exit, "--idle-exit")
        options += ["--idle-exit", idle_exit]
    if machine_wide or where.machine_wide:
        options.append("--machine-wide")
        if os.geteuid() != 0:
            raise NotPermitted("controller start", "this one is root's", "systemctl start gshare")
    if controller_lives(where.lock):
        click.echo(f"a controller runs already: pid {controller_pid(where.lock)}")
    elif foreground:
        os.execv(sys.executable, [sys.executable, "-m", "gshare.controller", *options])
    else:
        start_controller(where, *options)
        click.echo(f"controller started: pid {controller_pid(where.lock)}, log {where.log}")


@controller.command()
@json_option
def stop(as_json: bool) -> None:
    """Stop the controller; running tenants keep their limits, and the next controller adopts them."""
    client = Client(start=False, patient=False)
    reply = client.ask(Stop())
    assert isinstance(reply, Stopping)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while lives(client.runtime):
        if time.monotonic() > deadline:
            raise ControllerUnreachable(
                "controller", f"pid {reply.pid} does not end", f"kill -9 {reply.pid} is safe"
            )
        time.sleep(0.01)
    if as_json:
        print_json(reply)
    else:
        click.echo(f"controller stopped: pid {reply.pid}")


@controller.command()
@json_option
def status(as_json: bool) -> None:
    """Show which controller runs, and for whom."""
    client = Client(start=False, patient=False)
    reply = client.ask(GetStatus())
    assert isinstance(reply, Status)
    if as_json:
        print_json(reply)
        return
    about = reply.controller
    whose = "of all users" if client.runtime.machine_wide else "of your own"
    click.echo(
        f"controller {whose}: pid {about.pid}, version {about.version}, protocol {about.protocol}, "
        f"ABI {about.abi}, {reply.tenants} tenants with {reply.processes} processes, socket {about.socket}"
    )


@controller.command()
@click.option("--server", is_flag=True, help="The controller's instead, for who asks it from elsewhere.")
def key(server: bool) -> None:
    """Print your public key, made when there is none: an administrator elsewhere lets it in."""
    if server:
        where = runtime()
        if where.machine_wide and os.geteuid() != 0:
            raise NotPermitted("controller key --server", "only root reads it", "ask an administrator")
        folder = state_directory(machine_wide=where.machine_wide)
    else:
        folder = remote.client_folder()
    click.echo(remote.public_of(remote.own_key(folder)).hex())


controller.add_command(check_config)
controller.add_command(install)
controller.add_command(upgrade)
controller.add_command(reload)
