"""`gshare why`: what holds a tenant back."""

import click

from gshare.cli.complete import tenants
from gshare.cli.options import json_option
from gshare.cli.outputs import Why
from gshare.cli.render import print_json
from gshare.controller.client import Client
from gshare.controller.errors import NoSuchThing
from gshare.controller.follow import ALL, called, latest
from gshare.controller.protocol import GetTop
from gshare.controller.replies import Top
from gshare.controller.why import findings, lines, queued, refusals_of


@click.command()
@json_option
@click.argument("tenant", metavar="TENANT", shell_complete=tenants)
def why(tenant: str, as_json: bool) -> None:
    """Say why a tenant waits, on each of its GPUs: what limits it now, in numbers, and what would help."""
    client = Client()
    top = client.ask(GetTop())
    assert isinstance(top, Top)
    there = {share.tenant for share in top.tenants} | {entry.tenant for entry in top.queue}
    named = [name for name in called(client, tenant) if name in there]
    if not named:
        raise NoSuchThing(f"why {tenant}", "no tenant of this name runs", "see gshare ps")
    tenant = named[0]
    waiting = [entry for entry in top.queue if entry.tenant == tenant]
    counts = refusals_of(top, tenant)
    found = findings(top, tenant, latest(client, ALL, tenant))
    if as_json:
        print_json(Why(tenant, found, counts, waiting))
    else:
        click.echo("\n".join([*lines(tenant, found, counts), *queued(waiting, top.now_ns)]))
