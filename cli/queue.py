"""`gshare queue`: who waits to be let in."""

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_json, print_table, quantity
from gshare.controller.client import Client
from gshare.controller.protocol import GetQueue
from gshare.controller.replies import Queue, Waiting
from gshare.controller.units import format_percent

SECOND_NS = 1_000_000_000


@click.command()
@json_option
def queue(as_json: bool) -> None:
    """Show who waits to be let in, in the order in which they will be, and why they are not in yet.

    High priority goes first, then users take turns; a GPU is kept for who has waited for long.
    """
    reply = Client(start=False).ask(GetQueue())
    assert isinstance(reply, Queue)
    if as_json:
        print_json(reply)
        return
    header = ("PLACE", "USER", "PID", "TENANT", "PRIORITY", "MEM", "COMPUTE", "WAITED", "KEPT", "WHY")
    print_table(header, [_row(waiting, reply.now_ns) for waiting in reply.waiting])


def _row(waiting: Waiting, now_ns: int) -> tuple[str, ...]:
    return (
        str(waiting.place),
        waiting.user,
        str(waiting.pid),
        waiting.tenant or "-",
        waiting.priority,
        quantity(waiting.memory_bytes, waiting.memory_ppm),
        "-" if waiting.compute_ppm is None else format_percent(waiting.compute_ppm),
        f"{(now_ns - waiting.since_ns) // SECOND_NS}s",
        ",".join(f"GPU {index}" for index in waiting.kept) or "-",
        waiting.why or "-",
    )
