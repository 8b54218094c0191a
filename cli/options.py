"""Options that several commands share, turned into what the protocol carries."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gshare.controller.errors import UsageError
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import FULL_PPM, Memory, parse_fraction, parse_memory, parse_percent

Function = TypeVar("Function", bound=Callable[..., Any])

LIFT = "none"
"""Takes a limit away, where one can be changed."""


def limit_options(function: Function) -> Function:
    """Add --mem and --compute."""
    function = click.option("--compute", metavar="PCT", help="Share of GPU time, as 30%.")(function)
    return click.option("--mem", metavar="SIZE|PCT", help="Device memory, as 8G or 30%.")(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limits(mem: str | None, compute: str | None, share: str | None = None) -> Limits:
    """What --mem, --compute and --share ask for."""
    memory = None if mem is None else parse_memory(mem)
    compute_ppm = None if compute is None else parse_percent(compute, "--compute")
    if share is None:
        return Limits(memory, compute_ppm)
    for option, value in (("--mem", mem), ("--compute", compute)):
        if value is not None:
            raise UsageError(f"--share {share}", f"{option} {value} is given too", "--share sets both")
    ppm = parse_fraction(share)
    return Limits(Memory(None, ppm), min(ppm, FULL_PPM))


def change(mem: str | None, compute: str | None) -> Change:
    """What --mem and --compute change; `none` takes the limit away."""
    if mem is None and compute is None:
        raise UsageError(
            "nothing to set", "neither --mem nor --compute is given", "as --mem 8G --compute 30%"
        )
    asked = limits(None if mem == LIFT else mem, None if compute == LIFT else compute)
    return Change(asked.memory, asked.compute_ppm, mem == LIFT, compute == LIFT)
