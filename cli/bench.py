"""`gshare bench`: become a benchmark of the package gshare.benchmarks, which nothing here imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from gshare.controller.devices import real_devices

BENCHES = ("overhead", "simulator")
"""Those of gshare.benchmarks."""


@click.command()
@click.argument("name", type=click.Choice(BENCHES))
@click.option("--sim", "simulate", is_flag=True, help="On the simulated GPU even where there is a real one.")
@click.option("--smoke", is_flag=True, help="A short run, which forgives that the machine is busy.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (gshare/bench/v1).")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write the JSON to this file."
)
def bench(name: str, simulate: bool, smoke: bool, as_json: bool, output: Path | None) -> None:
    """Measure what gshare costs, on the GPU if there is one, else on the simulated GPU; 1 if over budget."""
    simulated = simulate or not real_devices()
    if simulated and not simulate and not as_json:
        click.echo("No GPU here: measuring on the simulated one.", err=True)
    sys.stderr.flush()
    command = [sys.executable, "-m", "gshare.benchmarks", name]
    command += ["--sim"] * simulated + ["--smoke"] * smoke + ["--json"] * as_json
    command += ["--output", str(output)] if output else []
    os.execv(sys.executable, command)
