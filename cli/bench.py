"""`gshare bench`: become a benchmark of the package gshare.benchmarks, which nothing here imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from gshare.controller.devices import real_devices

BENCHES = ("memory", "overhead", "shares", "simulator")
"""Those of gshare.benchmarks."""


@click.command()
@click.argument("name", type=click.Choice(BENCHES))
@click.option("--sim", "simulate", is_flag=True, help="On the simulated GPU even where there is a real one.")
@click.option("--smoke", is_flag=True, help="A short run, which forgives that the machine is busy.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (gshare/bench/v1).")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write the JSON to this file."
)
@click.option("--virtual/--real-time", default=None, help="shares: the clock; virtual where there is no GPU.")
@click.option(
    "--pictures", type=click.Path(file_okay=False, path_type=Path), help="shares: one a row, into it."
)
@click.option("--row", "rows", multiple=True, metavar="NAME", help="shares: only rows that begin so.")
@click.option(
    "--slice-ms", "slices_ms", multiple=True, type=click.FloatRange(0.01, 100), help="shares: time slices."
)
@click.option("--sigma", type=click.FloatRange(0, 2), help="shares: how much kernels' lengths vary (0.25).")
@click.option(
    "--by-work", is_flag=True, help="shares: the truth as on a real GPU, by what kernels take alone."
)
def bench(
    name: str, simulate: bool, smoke: bool, as_json: bool, output: Path | None, **of_shares: Any
) -> None:
    """Measure what gshare costs and whether shares hold, on the GPU or, without one, on the simulated GPU.

    It ends with 1 if anything is over its budget.
    """
    simulated = simulate or not real_devices()
    if simulated and not simulate and not as_json:
        click.echo("No GPU here: measuring on the simulated one.", err=True)
    sys.stderr.flush()
    command = [sys.executable, "-m", "gshare.benchmarks", name]
    command += ["--sim"] * simulated + ["--smoke"] * smoke + ["--json"] * as_json
    command += ["--output", str(output)] if output else []
    more = _options(**of_shares)
    if more and name != "shares":
        raise click.UsageError(f"{more[0].partition('=')[0]} is for `gshare bench shares`")
    command += more
    os.execv(sys.executable, command)


def _options(
    virtual: bool | None,
    pictures: Path | None,
    rows: tuple[str, ...],
    slices_ms: tuple[float, ...],
    sigma: float | None,
    by_work: bool,
) -> list[str]:
    options = [] if virtual is None else ["--virtual" if virtual else "--no-virtual"]
    options += [f"--pictures={pictures}"] if pictures else []
    options += [f"--row={row}" for row in rows]
    options += [f"--slice-ms={ms}" for ms in slices_ms]
    options += [] if sigma is None else [f"--sigma={sigma}"]
    return options + ["--by-work"] * by_work
