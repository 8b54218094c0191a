"""`gshare events`: what has happened, and with --follow what happens."""

from collections.abc import Callable
from datetime import datetime

import click

from gshare.cli.complete import tenants
from gshare.cli.options import json_option
from gshare.cli.render import NOTHING, print_json
from gshare.controller.authority import OWN
from gshare.controller.client import Client
from gshare.controller.events import Event
from gshare.controller.follow import ALL, follow, latest
from gshare.controller.replies import Events
from gshare.controller.units import format_size, parse_tenant, printable


@click.command()
@click.option("--tenant", metavar="NAME", shell_complete=tenants, help="Only of this tenant.")
@click.option("--follow", "-f", "follows", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "-n", "most", type=click.IntRange(1, ALL), default=20, show_default=True, help="At most so many old ones."
)
@json_option
def events(tenant: str | None, follows: bool, most: int, as_json: bool) -> None:
    """Show what has happened: tenants that started and ended, changed limits, refused allocations.

    With --follow and --json each event is a line of its own.
    """
    if tenant is not None:
        parse_tenant(tenant.partition(OWN)[0])
    if not follows:
        shown = latest(Client(), most, tenant or "")
        if as_json:
            print_json(Events(shown))
        for event in [] if as_json else shown:
            click.echo(line_of(event))
        return
    try:
        for event in follow(Client(), most, tenant or ""):
            if as_json:
                print_json(event)
            else:
                click.echo(line_of(event))
    except KeyboardInterrupt:
        return  # as it is meant to end


def line_of(event: Event) -> str:
    """One event for people."""
    at = datetime.fromtimestamp(event["time_ns"] / 1e9)
    day = "" if at.date() == datetime.now().date() else f"{at:%Y-%m-%d} "
    tell = _TELL.get(event["what"])
    line = f"{day}{at:%H:%M:%S} {event['tenant'] or NOTHING} {tell(event) if tell else event['what']}"
    return printable(line)


def _refused(event: Event) -> str:
    times = f" ({event['count']} times)" if event["count"] > 1 else ""
    what = f"pid {event['pid']} {event['api']} of {format_size(event['bytes'])} refused{times}"
    if event["host"]:
        where, holds = "on the host", "pinned"
    elif event["uuid"]:
        sim = "sim:" if event["simulated"] else ""
        where = f"on GPU {event['uuid'] if event['index'] is None else sim + str(event['index'])}"
        holds = "in use"
    else:
        return f"{what}: the GPU is not granted"
    limit = event["limit_bytes"]
    of = "" if limit is None else f" of {format_size(limit)}"
    return f"{what} {where}: {format_size(event['used_bytes'])}{of} {holds}"


def _residue(event: Event) -> str:
    if not event["bytes"]:
        return f"has no more of GPU {event['uuid']} than its processes are charged for"
    return f"has {format_size(event['bytes'])} of GPU {event['uuid']} that no process is charged for"


def _audited(event: Event) -> str:
    """What was done, about whom, and why."""
    who = f"pid {event['pid']} ({event['command']}) " if event.get("pid") else ""
    why: dict[str, Callable[[], str]] = {
        "unmanaged": lambda: "uses the GPU without gshare",
        "over-quota": lambda: (
            f"has {format_size(event['bytes'])} of {format_size(event['quota_bytes'])},"
            " and was not charged for all of it"
        ),
        "tampering": lambda: _TAMPERS[event["how"]],
        "over-share": lambda: (
            f"had {event['above_ppm'] / 10_000:.0f} points more of the GPU's time than its share"
        ),
    }
    return f"{event.get('action', 'warned')}: {who}{why[event['what']]()}, on GPU {event['uuid']}"


_TAMPERS = {
    "without-gshare": "uses the GPU without gshare, inside the tenant",
    "books-too-low": "has more memory than it says",
    "books-disagree": "has written into its tenant's books",
}

_TELL: dict[str, Callable[[Event], str]] = {
    "limits": lambda event: "has other limits",
    "refused": _refused,
    "residue": _residue,
    **dict.fromkeys(("unmanaged", "over-quota", "tampering", "over-share"), _audited),
    "forbidden": lambda event: (
        f"uid {event['uid']}, pid {event['pid']}: {event['request']} refused: {event['why']}"
    ),
    "forbidden-lost": lambda event: f"uid {event['uid']} was refused {event['count']} more times",
    "queued": lambda event: f"pid {event['pid']} waits to be let in: {event['why']}",
    "dequeued": lambda event: f"pid {event['pid']} does not wait any more",
    "configured": lambda event: "; ".join([f"{event['file']} is in force", *event["wrong"]]),
    "misconfigured": lambda event: "; ".join([f"{event['file']} is not taken over", *event["wrong"]]),
    "not-configured": lambda event: f"keeps its limits: {event['why']}",
    "refusals-lost": lambda event: f"was refused {event['count']} more times, too fast to be told",
}
"""How kinds are told; others by their name."""
