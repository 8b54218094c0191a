"""Options that several commands share, turned into what the protocol carries."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from gshare.cli.complete import choice
from gshare.controller import host
from gshare.controller.errors import UsageError
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import (
    FULL_PPM,
    LIFT,
    MODES,
    PRIORITIES,
    Memory,
    MemoryAsked,
    parse_choice,
    parse_compute,
    parse_fraction,
    parse_memory,
    parse_memory_each,
    parse_rates,
    parse_weight,
)

Function = TypeVar("Function", bound=Callable[..., Any])


def limit_options(function: Function) -> Function:
    """Add the options that say what a tenant may have: see `limits` for what becomes of them."""
    for name, metavar, text in reversed(_LIMIT_OPTIONS):
        words = _CHOICES.get(name)
        completer = None if words is None else choice(words)
        function = click.option(name, metavar=metavar, help=text, shell_complete=completer)(function)
    return function


_LIMIT_OPTIONS = (
    ("--mem", "SIZE|PCT", "Device memory, as 8G or 30%; for each GPU, as 0=8G,1=4G."),
    ("--compute", "PCT[..PCT]", "Share of GPU time: 30% at most; 30%..60%: guaranteed, and at most."),
    ("--weight", "N", "Part of the GPU time that nobody is guaranteed or uses."),
    ("--priority", "high|normal|low", "Runs only while nobody of higher priority does."),
    ("--mode", "auto|concurrent|turns", "Whether the GPU's tenants overlap, or run one at a time."),
    ("--host-mem", "SIZE|PCT", "Pinned memory of the host, as 8G, or as 10% of the machine's."),
    ("--pcie", "RATE", "Copies between host and device, as 4G/s, or as h2d=4G/s,d2h=2G/s."),
)


_CHOICES = {"--priority": PRIORITIES, "--mode": MODES}

LIMIT_NAMES = tuple(name.removeprefix("--").replace("-", "_") for name, _, _ in _LIMIT_OPTIONS)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limits(
    mem: str | None = None,
    compute: str | None = None,
    weight: str | None = None,
    priority: str | None = None,
    mode: str | None = None,
    host_mem: str | None = None,
    pcie: str | None = None,
    share: str | None = None,
    *,
    lift: bool = False,
) -> Limits:
    """What limit_options and --share ask for."""
    pinned = None if host_mem is None else parse_memory(host_mem, "--host-mem").on(host.memory_bytes())
    memory = MemoryAsked(None, {}) if mem is None else parse_memory_each(mem, lift=lift)
    guarantee, ceiling = (None, None) if compute is None else parse_compute(compute)
    asked = Limits(
        memory=memory.each,
        compute_ppm=guarantee,
        memory_on=memory.on,
        host_memory_bytes=pinned,
        ceiling_ppm=ceiling,
        weight=None if weight is None else parse_weight(weight),
        priority=None if priority is None else parse_choice(priority, PRIORITIES, "--priority"),
        mode=None if mode is None else parse_choice(mode, MODES, "--mode"),
        copy_bytes_per_s={way: rate for way, rate in _rates(pcie, lift=lift).items() if rate is not None},
    )
    if share is None:
        return asked
    for option, value in (("--mem", mem), ("--compute", compute)):
        if value is not None:
            raise UsageError(f"--share {share}", f"{option} {value} is given too", "--share sets both")
    ppm = parse_fraction(share)
    return msgspec.structs.replace(asked, memory=Memory(None, ppm), compute_ppm=min(ppm, FULL_PPM))


LIFTABLE = ("mem", "compute", "weight", "host_mem")  # --pcie takes it as a rate of its own


def change(**given: str | None) -> Change:
    """What limit_options change; `none` takes a limit away."""
    if all(text is None for text in given.values()):
        raise UsageError("nothing to set", "no limit is given", "as --mem 8G --compute 30%")
    lifted = {name for name in LIFTABLE if given.get(name) == LIFT}
    asked = limits(**{name: text for name, text in given.items() if name not in lifted}, lift=True)
    return Change(
        memory=asked.memory,
        compute_ppm=asked.compute_ppm,
        lift_memory="mem" in lifted,
        lift_compute="compute" in lifted,
        memory_on=asked.memory_on,
        host_memory_bytes=asked.host_memory_bytes,
        lift_host_memory="host_mem" in lifted,
        ceiling_ppm=asked.ceiling_ppm,
        weight=asked.weight,
        lift_weight="weight" in lifted,
        priority=asked.priority,
        mode=asked.mode,
        copy_bytes_per_s=_rates(given.get("pcie"), lift=True),
    )


def _rates(pcie: str | None, *, lift: bool) -> dict[str, int | None]:
    return {} if pcie is None else parse_rates(pcie, lift=lift)
