"""`gshare why`: what holds a tenant back."""

import click

from gshare.cli.options import json_option
from gshare.cli.outputs import Why
from gshare.cli.render import print_json
from gshare.controller.client import Client
from gshare.controller.errors import NoSuchThing
from gshare.controller.follow import ALL, latest
from gshare.controller.protocol import GetShares
from gshare.controller.replies import Shares
from gshare.controller.why import findings, lines


@click.command()
@json_option
@click.argument("tenant", metavar="TENANT")
def why(tenant: str, as_json: bool) -> None:
    """Say why a tenant waits, on each of its GPUs: what limits it now, in numbers, and what would help."""
    client = Client()
    shares = client.ask(GetShares())
    assert isinstance(shares, Shares)
    if tenant not in {share.tenant for share in shares.tenants}:
        raise NoSuchThing(f"why {tenant}", "no tenant of this name runs", "see gshare ps")
    found = findings(shares, tenant, latest(client, ALL, tenant))
    if as_json:
        print_json(Why(tenant, found))
    else:
        click.echo("\n".join(lines(tenant, found)))
