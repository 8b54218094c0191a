"""`gshare status`: is there a controller, and what does it look after."""

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_devices, print_json
from gshare.controller.client import Client
from gshare.controller.protocol import GetStatus
from gshare.controller.replies import Status


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the controller, its versions, and the devices; exit code 3 where none runs."""
    reply = Client(start=False).ask(GetStatus())
    assert isinstance(reply, Status)
    if as_json:
        print_json(reply)
        return
    controller = reply.controller
    click.echo(
        f"controller  pid {controller.pid}, gshare {controller.version}, protocol {controller.protocol}"
    )
    click.echo(f"shared memory  ABI {controller.abi}")
    click.echo(f"socket  {controller.socket}")
    click.echo(f"log  {controller.log}")
    click.echo(f"tenants  {reply.tenants} with {reply.processes} processes")
    if reply.devices:
        print_devices(reply.devices)
    else:
        click.echo("devices  none (--sim runs on a simulated one)")
