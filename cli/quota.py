"""`gshare quota`: permanent tenants."""

import click

from gshare.cli.options import change, json_option, limit_options
from gshare.cli.render import print_json, print_quotas
from gshare.controller.client import ADMISSION_TIMEOUT_S, Client
from gshare.controller.protocol import GetQuotas, RemoveQuota, Request, SetQuota
from gshare.controller.replies import Quotas
from gshare.controller.units import parse_tenant


@click.group()
def quota() -> None:
    """Permanent quotas: every program run with --tenant NAME shares that tenant's."""


@quota.command("set")
@limit_options
@json_option
@click.argument("name", metavar="NAME")
def set_quota(name: str, as_json: bool, **wanted: str | None) -> None:
    """Write a quota down; a tenant that runs gets it at once.  `none` takes a limit away."""
    _ask(SetQuota(parse_tenant(name, "quota set"), change(**wanted)), as_json)


@quota.command("show")
@json_option
@click.argument("name", metavar="[NAME]", default="")
def show_quota(name: str, as_json: bool) -> None:
    """Show all quotas, or one."""
    _ask(GetQuotas(name), as_json)


@quota.command("rm")
@json_option
@click.argument("name", metavar="NAME")
def remove_quota(name: str, as_json: bool) -> None:
    """Forget a quota, and print what it was; a tenant that runs keeps its limits until it ends."""
    _ask(RemoveQuota(name), as_json)


def _ask(request: Request, as_json: bool) -> None:
    reply = Client().ask(request, ADMISSION_TIMEOUT_S)
    assert isinstance(reply, Quotas)
    if as_json:
        print_json(reply)
    else:
        print_quotas(reply.quotas)
