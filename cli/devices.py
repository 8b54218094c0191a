"""`gshare devices`: the GPUs, and what is promised of them."""

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_devices, print_json
from gshare.controller.client import Client
from gshare.controller.protocol import GetDevices
from gshare.controller.replies import Devices


@click.command()
@json_option
def devices(as_json: bool) -> None:
    """List the GPUs, real ones and those of the simulated machine if it runs."""
    from gshare.shim import sim

    machine = sim.environment()["SIMGPU_MACHINE"]
    reply = Client().ask(GetDevices(machine))
    assert isinstance(reply, Devices)
    if as_json:
        print_json(reply)
    elif reply.devices:
        print_devices(reply.devices)
    else:
        click.echo("no GPU (gshare sim start makes a simulated one)")
