"""`gshare quota`: permanent tenants."""

import click

from gshare.cli.options import change, json_option, limit_options
from gshare.cli.render import print_json, print_quotas
from gshare.controller.client import ADMISSION_TIMEOUT_S, Client
from gshare.controller.errors import NoSuchThing
from gshare.controller.protocol import Change, GetQuotas, RemoveQuota, Request, SetQuota
from gshare.controller.replies import Quotas
from gshare.controller.units import parse_tenant


@click.group()
def quota() -> None:
    """Permanent quotas: every program run with --tenant NAME shares that tenant's."""


@quota.command("set")
@limit_options
@click.option("--reserve/--no-reserve", default=None, help="Keep its guarantees free while it does not run.")
@click.option("--owner", metavar="USER", help="Whose it is.")
@click.option("--members", metavar="USER|@GROUP,...", help="Who else may run in it; none: nobody.")
@json_option
@click.argument("name", metavar="NAME")
def set_quota(
    name: str,
    reserve: bool | None,
    owner: str | None,
    members: str | None,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """Write a quota down; a tenant that runs gets it at once.  `none` takes a limit away."""
    parse_tenant(name, "quota set")
    only_people = (reserve, owner, members) != (None, None, None)
    nothing = only_people and all(text is None for text in wanted.values())
    request = SetQuota(
        name,
        Change() if nothing else change(**wanted),
        None if owner is None else _uid(owner),
        None if members is None else _members(members),
        reserve,
    )
    _ask(request, as_json)


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


def _uid(owner: str) -> int:
    from gshare.controller.identity import user_and_group_ids

    for uid in user_and_group_ids([owner])[0]:
        return uid
    raise NoSuchThing(f"--owner {owner}", "no such user", "a name, or a number")


def _members(text: str) -> list[str]:
    from gshare.controller.identity import user_and_group_ids

    members = [] if text == "none" else [member.strip() for member in text.split(",")]
    for member in members:
        if not any(user_and_group_ids([member])):
            raise NoSuchThing(f"--members {member}", "no such user or group", "as alice,@students")
    return members


def _ask(request: Request, as_json: bool) -> None:
    reply = Client().ask(request, ADMISSION_TIMEOUT_S)
    assert isinstance(reply, Quotas)
    if as_json:
        print_json(reply)
    else:
        print_quotas(reply.quotas)
