"""`gshare env`: the environment of a tenant, for a shell that goes on: `eval "$(gshare env --mem 4G)"`."""

import os
import shlex

import click

from gshare.cli import run as runs
from gshare.cli.options import limit_options, limits
from gshare.controller.errors import GshareError
from gshare.controller.processes import command, start_ticks
from gshare.controller.protocol import MOST_OF_COMMAND, Admit
from gshare.controller.units import parse_gpus, parse_tenant


@click.command()
@limit_options
@click.option("--gpu", metavar="IDX|UUID,...", help="Only these GPUs; limits hold on each.")
@click.option("--tenant", metavar="NAME", help="Share the quota of this tenant.")
@click.option("--sim", is_flag=True, help="On the simulated GPU.")
def env(gpu: str | None, tenant: str | None, sim: bool, **wanted: str | None) -> None:
    """Print exports that make the shell that calls this, and what it starts, a tenant's, until it ends.

    As in: eval "$(gshare env --mem 4G --compute 20%)"
    """
    asked = limits(lift=False, **wanted)
    gpus = parse_gpus(gpu) if gpu is not None else []
    if tenant is not None:
        parse_tenant(tenant)
    shell = os.getppid()
    ticks = start_ticks(shell)
    if ticks is None:
        raise GshareError("env", "the shell that asked has ended")
    simulated, changes = runs.simulation("" if sim else None)
    request = Admit(
        pid=shell,
        start_ticks=ticks,
        command=command(shell)[:MOST_OF_COMMAND],
        limits=asked,
        gpus=gpus,
        tenant=tenant or "",
        simulated=simulated,
    )
    decision = runs.decide(request, None, restricted=True)
    environment = runs.own_environment()
    restrict = bool(gpus) or (decision.restricted and runs.VISIBLE not in environment)
    changes |= runs.tenant_environment(decision, environment, restrict_devices=restrict)
    for name, value in changes.items():
        click.echo(f"export {name}={shlex.quote(value)}")
