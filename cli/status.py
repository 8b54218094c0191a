"""`gshare status`: is there a controller, what does it look after, and how do these fare."""

from collections import Counter

import click
import msgspec

from gshare.cli.options import json_option
from gshare.cli.outputs import WholeStatus
from gshare.cli.render import print_devices, print_json
from gshare.controller.client import Client
from gshare.controller.protocol import GetStatus, GetTop
from gshare.controller.replies import Status, Top
from gshare.controller.why import told_counts


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the controller, its versions, the devices, and who waits; exit code 3 where none runs."""
    client = Client(start=False)
    known, top = client.ask(GetStatus()), client.ask(GetTop())
    assert isinstance(known, Status)
    assert isinstance(top, Top)
    whole = whole_status(known, top)
    if as_json:
        print_json(whole)
        return
    controller = whole.controller
    click.echo(
        f"controller  pid {controller.pid}, gshare {controller.version}, protocol {controller.protocol}"
    )
    click.echo(f"shared memory  ABI {controller.abi}")
    click.echo(f"socket  {controller.socket}")
    click.echo(f"log  {controller.log}")
    click.echo(f"web page  {controller.web or 'none (gshare web)'}")
    click.echo(f"tenants  {whole.tenants} with {whole.processes} processes{_fare(whole)}")
    if whole.refused:
        click.echo(f"refused  {told_counts(whole.refused)}")
    if whole.queued:
        click.echo(f"queue  {whole.queued} (gshare queue)")
    if whole.unmanaged:
        click.echo(f"unmanaged  {whole.unmanaged} on the GPUs without gshare (gshare top)")
    if whole.devices:
        print_devices(whole.devices)
    else:
        click.echo("devices  none (--sim runs on a simulated one)")


def whole_status(known: Status, top: Top) -> WholeStatus:
    """Both answers as one."""
    states: dict[str, set[str]] = {}
    for share in top.tenants:
        states.setdefault(share.state, set()).add(share.tenant)
    refused = Counter[str]()
    for row in top.refusals:
        refused[row.cause] += row.count
    return WholeStatus(
        **msgspec.structs.asdict(known),
        waiting=len(states.get("throttled", set()) | states.get("yielding", set())),
        paused=len(states.get("paused", ())),
        queued=len(top.queue),
        unmanaged=len(top.unmanaged),
        throttled_ns=sum(share.totals.throttled_ns for share in top.tenants),
        refused=dict(refused),
    )


def _fare(whole: WholeStatus) -> str:
    parts = [
        f"{count} {what}" for count, what in ((whole.waiting, "waiting"), (whole.paused, "paused")) if count
    ]
    parts += [f"{whole.throttled_ns / 1e9:.1f} s waited"] if whole.throttled_ns else []
    return f": {', '.join(parts)}" if parts else ""
