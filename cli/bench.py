"""`gshare bench`: become a benchmark of the package gshare.benchmarks, which nothing here imports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from gshare.controller.devices import real_devices

BUDGETS = ("controller", "memory", "overhead", "shares", "simulator")
"""Those of gshare.benchmarks that have budgets."""


@click.command()
@click.argument("names", nargs=-1, metavar="[GROUP…]")
@click.option("--sim", "simulate", is_flag=True, help="On the simulated GPU even where there is a real one.")
@click.option("--gpu", "real", is_flag=True, help="On a real GPU, or not at all.")
@click.option("--arms", metavar="NAME,…", help="native,gshare,timeslice,mps; default: the first three.")
@click.option("--rival", multiple=True, metavar="NAME=PATH", help="Also under another library: hami, …")
@click.option("--blocks", type=click.IntRange(1, 1000), help="How often each is measured under each arm.")
@click.option(
    "--minutes", type=click.FloatRange(0.1), help="Begin no block that would end later; default: 10."
)
@click.option("--quick", is_flag=True, help="Under two minutes.")
@click.option("--report/--no-report", default=None, help="Pictures, and a page of them (needs matplotlib).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (gshare/bench/v1).")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the result; of budgets, a file.")
@click.option("--smoke", is_flag=True, help="budgets: short, and what else the machine does is forgiven.")
@click.option("--virtual/--real-time", default=None, help="budgets shares: the clock; virtual on no GPU.")
@click.option(
    "--pictures", type=click.Path(file_okay=False, path_type=Path), help="budgets shares: one a row, into it."
)
@click.option("--row", "rows", multiple=True, metavar="NAME", help="budgets shares: rows that begin so.")
@click.option(
    "--slice-ms", "slices_ms", multiple=True, type=click.FloatRange(0.01, 100), help="budgets shares: slices."
)
@click.option("--sigma", type=click.FloatRange(0, 2), help="budgets shares: how kernels' lengths vary.")
@click.option("--seed", type=click.IntRange(0, 10**6), default=0, help="budgets shares: other kernels.")
@click.option("--by-work", is_flag=True, help="budgets shares: the truth as on a real GPU.")
def bench(
    names: tuple[str, ...], simulate: bool, real: bool, as_json: bool, output: Path | None, **more: Any
) -> None:
    """Compare programs under gshare, under nothing and under other libraries; or hold gshare to its budgets.

    GROUPs are overhead, memory, shares, fairness, priority, adaptation, makespan, copies, scale, resilience,
    coverage and models; without any, all. `gshare bench budgets NAME` is one of controller, memory,
    overhead, shares and simulator, `gshare bench compare A.json B.json` what changed from one result to
    another, `gshare bench report RESULT.json [--output DIR]` the page and the pictures of one that was made
    elsewhere. Without a GPU it takes the simulated one.

    A run that was stopped goes on where it was. It ends with 1 if anything is over its budget, or if what
    measures isolation does not find it missing where there are no limits.
    """
    is_there = bool(real_devices())
    if real and (simulate or not is_there):
        raise click.UsageError("--gpu and --sim are opposites" if simulate else "there is no GPU for --gpu")
    simulated = simulate or not is_there
    if simulated and not simulate and not as_json and names[:1] not in (("compare",), ("report",)):
        click.echo("No GPU here: measuring on the simulated one.", err=True)
    sys.stderr.flush()
    command = [sys.executable, "-m", "gshare.benchmarks", *names]
    command += ["--sim"] * simulated + ["--json"] * as_json
    command += ["--output", str(output)] if output else []
    if _of_shares(**more) and names[-1:] != ("shares",):
        word = _of_shares(**more)[0].partition("=")[0]
        raise click.UsageError(f"{word} is for `gshare bench budgets shares`")
    os.execv(sys.executable, command + _of_groups(**more) + _of_shares(**more))


def _of_groups(
    arms: str | None,
    rival: tuple[str, ...],
    blocks: int | None,
    minutes: float | None,
    quick: bool,
    report: bool | None,
    smoke: bool,
    **others: Any,
) -> list[str]:
    options = [f"--arms={arms}"] if arms else []
    options += [f"--rival={one}" for one in rival]
    options += [f"--blocks={blocks}"] if blocks else []
    options += [f"--minutes={minutes:g}"] if minutes else []
    options += [] if report is None else ["--report" if report else "--no-report"]
    return options + ["--quick"] * quick + ["--smoke"] * smoke


def _of_shares(
    virtual: bool | None,
    pictures: Path | None,
    rows: tuple[str, ...],
    slices_ms: tuple[float, ...],
    sigma: float | None,
    seed: int,
    by_work: bool,
    **others: Any,
) -> list[str]:
    options = [] if virtual is None else ["--virtual" if virtual else "--no-virtual"]
    options += [f"--pictures={pictures}"] if pictures else []
    options += [f"--row={row}" for row in rows]
    options += [f"--slice-ms={ms}" for ms in slices_ms]
    options += [] if sigma is None else [f"--sigma={sigma}"]
    options += [f"--seed={seed}"] if seed else []
    return options + ["--by-work"] * by_work
