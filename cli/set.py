"""`gshare set`: change a running tenant's limits."""

import click

from gshare.cli.complete import tenants
from gshare.cli.options import change, json_option, limit_options
from gshare.cli.render import print_change, print_json
from gshare.controller.client import ADMISSION_TIMEOUT_S, Client
from gshare.controller.protocol import SetLimits
from gshare.controller.replies import LimitsSet


@click.command("set")
@limit_options
@json_option
@click.argument("target", metavar="TENANT|PID", shell_complete=tenants)
def set_limits(target: str, as_json: bool, **wanted: str | None) -> None:
    """Change the limits of a running tenant, named or by the pid of one of its processes.

    Its programs see the new limits at once; `none` takes a limit away.  What is printed was read back.
    A permanent quota stays what it is: `gshare quota set` changes both.
    """
    reply = Client().ask(SetLimits(target, change(**wanted)), ADMISSION_TIMEOUT_S)
    assert isinstance(reply, LimitsSet)
    if as_json:
        print_json(reply)
    else:
        print_change(reply)


COMMAND = set_limits
