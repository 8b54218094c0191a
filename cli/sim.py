"""`gshare sim`: the simulated machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_table
from gshare.controller.errors import GshareError
from gshare.controller.units import format_size
from gshare.shim import sim as simulator


@click.group()
def sim() -> None:
    """The simulated GPU that `--sim` runs on."""


@sim.command()
@click.argument("profile", default="")
@json_option
def start(profile: str, as_json: bool) -> None:
    """Start the simulated machine with PROFILE (h200, a100, l4, t4; h200*2 is two devices) unless it runs."""
    with _errors():
        simulator.start(profile=profile or None)
    _print(as_json)


@sim.command()
@json_option
def stat(as_json: bool) -> None:
    """Show what the simulated devices have done, as only a simulation can know."""
    _print(as_json)


@sim.command()
@json_option
def stop(as_json: bool) -> None:
    """End the simulated machine and forget what it did; programs on it lose their device.

    With --json the last that `stat` had to say is printed.
    """
    if as_json:
        _print(as_json)
    with _errors():
        simulator.stop()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except simulator.SimulationError as error:
        raise GshareError("sim", str(error)) from None


def _print(as_json: bool) -> None:
    with _errors():
        statistics = simulator.stat()
    if as_json:
        click.echo(json.dumps(statistics))
        return
    rows = [
        (
            f"sim:{device['index']}",
            format_size(device["memory_bytes"]),
            format_size(device["used_bytes"]),
            f"{100 - 100 * device['idle_ns'] / max(device['elapsed_ns'], 1):.1f}%",
            str(device["switches"]),
            str(sum(not process["ended"] for process in device["processes"])),
            device["uuid"],
        )
        for device in statistics["devices"]
    ]
    print_table(("GPU", "MEMORY", "USED", "BUSY", "SWITCHES", "PROCESSES", "UUID"), rows)
