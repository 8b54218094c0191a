"""Options that several commands share, turned into what the protocol carries."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gshare.controller import host
from gshare.controller.errors import UsageError
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import (
    FULL_PPM,
    LIFT,
    Memory,
    MemoryAsked,
    parse_fraction,
    parse_memory,
    parse_memory_each,
    parse_percent,
)

Function = TypeVar("Function", bound=Callable[..., Any])


def limit_options(function: Function) -> Function:
    """Add --mem, --compute and --host-mem."""
    pinned = "Pinned memory of the host, as 8G, or as 10% of the machine's."
    function = click.option("--host-mem", metavar="SIZE|PCT", help=pinned)(function)
    function = click.option("--compute", metavar="PCT", help="Share of GPU time, as 30%.")(function)
    mem = click.option(
        "--mem", metavar="SIZE|PCT", help="Device memory, as 8G or 30%; for each GPU, as 0=8G,1=4G."
    )
    return mem(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limits(
    mem: str | None,
    compute: str | None,
    host_mem: str | None,
    share: str | None = None,
    *,
    lift: bool = False,
) -> Limits:
    """What --mem, --compute, --host-mem and --share ask for."""
    pinned = None if host_mem is None else parse_memory(host_mem, "--host-mem").on(host.memory_bytes())
    memory = MemoryAsked(None, {}) if mem is None else parse_memory_each(mem, lift=lift)
    compute_ppm = None if compute is None else parse_percent(compute, "--compute")
    if share is None:
        return Limits(memory.each, compute_ppm, memory.on, pinned)
    for option, value in (("--mem", mem), ("--compute", compute)):
        if value is not None:
            raise UsageError(f"--share {share}", f"{option} {value} is given too", "--share sets both")
    ppm = parse_fraction(share)
    return Limits(Memory(None, ppm), min(ppm, FULL_PPM), host_memory_bytes=pinned)


def change(mem: str | None, compute: str | None, host_mem: str | None) -> Change:
    """What --mem, --compute and --host-mem change; `none` takes the limit away."""
    if mem is None and compute is None and host_mem is None:
        raise UsageError(
            "nothing to set",
            "none of --mem, --compute and --host-mem is given",
            "as --mem 8G --compute 30%",
        )
    mem_asked, compute_asked, host_asked = (
        None if text == LIFT else text for text in (mem, compute, host_mem)
    )
    asked = limits(mem_asked, compute_asked, host_asked, lift=True)
    return Change(
        asked.memory,
        asked.compute_ppm,
        mem == LIFT,
        compute == LIFT,
        asked.memory_on,
        asked.host_memory_bytes,
        host_mem == LIFT,
    )
