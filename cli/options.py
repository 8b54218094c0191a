"""Options that several commands share, turned into what the protocol carries."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gshare.controller.errors import UsageError
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import (
    FULL_PPM,
    LIFT,
    Memory,
    MemoryAsked,
    parse_fraction,
    parse_memory_each,
    parse_percent,
)

Function = TypeVar("Function", bound=Callable[..., Any])


def limit_options(function: Function) -> Function:
    """Add --mem and --compute."""
    function = click.option("--compute", metavar="PCT", help="Share of GPU time, as 30%.")(function)
    mem = click.option(
        "--mem", metavar="SIZE|PCT", help="Device memory, as 8G or 30%; for each GPU, as 0=8G,1=4G."
    )
    return mem(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limits(mem: str | None, compute: str | None, share: str | None = None, *, lift: bool = False) -> Limits:
    """What --mem, --compute and --share ask for."""
    memory = MemoryAsked(None, {}) if mem is None else parse_memory_each(mem, lift=lift)
    compute_ppm = None if compute is None else parse_percent(compute, "--compute")
    if share is None:
        return Limits(memory.each, compute_ppm, memory.on)
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
    asked = limits(None if mem == LIFT else mem, None if compute == LIFT else compute, lift=True)
    return Change(asked.memory, asked.compute_ppm, mem == LIFT, compute == LIFT, asked.memory_on)
