"""Quantities as people write them: the only parser and printer of sizes, shares and GPU lists.

Sizes are bytes, shares are parts per million (ppm), everywhere but in what a person types or reads.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from gshare.controller.errors import UsageError

FULL_PPM = 1_000_000
"""The whole device."""

MAX_WEIGHT = 1000
"""Nothing is shared out more unequally than that."""

MAX_BYTES = 1 << 62
"""Nothing larger is taken for a size: it leaves room for sums in signed 64-bit words."""

_SUFFIXES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d+)(?:\.(\d+))?(?:([KMGT])(iB)?)?", re.ASCII | re.IGNORECASE)
_DECIMAL_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])B", re.ASCII | re.IGNORECASE)
_PERCENT = re.compile(r"(\d+)(?:\.(\d+))?(%?)", re.ASCII)
_FRACTION = re.compile(r"(\d*)\.?(\d*)", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_WEIGHT = re.compile(r"\d{1,9}", re.ASCII)
_GPU_INDEX = re.compile(r"\d{1,3}", re.ASCII)
_GPU_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Fa-f-]{4,36}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)

MOST_IN_NAME = 63
"""Characters of a tenant's: so many the ABI holds."""


class Memory(NamedTuple):
    """An amount of device memory: bytes, or a part of whatever the device has (exactly one is set)."""

    bytes: int | None
    ppm: int | None

    def on(self, device_bytes: int) -> int:
        """Return the amount in bytes on a device that has `device_bytes`."""
        if self.ppm is None:
            return self.bytes or 0
        return device_bytes * self.ppm // FULL_PPM


def parse_memory(text: str, option: str = "--mem") -> Memory:
    """Parse `8G`, `512MiB`, `1073741824` or `30%`; raise UsageError with a way out for anything else."""
    if text.endswith("%"):
        return Memory(None, parse_percent(text, option))
    return Memory(parse_size(text, option), None)


class MemoryAsked(NamedTuple):
    """Amounts of device memory: on every device, and on some that are named (None there: no limit)."""

    each: Memory | None
    on: dict[str, Memory | None]


LIFT = "none"
"""Takes a limit away, where one can be changed."""


def parse_memory_each(text: str, option: str = "--mem", *, lift: bool = False) -> MemoryAsked:
    """Parse `8G`, `0=8G,GPU-1b2c...=4G` or `8G,1=4G`; with `lift`, a GPU's amount may be `none`."""
    each: Memory | None = None
    on: dict[str, Memory | None] = {}
    for part in text.split(","):
        gpu, named, amount = part.strip().rpartition("=")
        if not named and each is not None:
            raise UsageError(f"{option} {text}", "two amounts for every GPU", "name the GPU, as 0=8G,1=4G")
        if not named:
            each = parse_memory(amount, option)
            continue
        amount = amount.strip()
        if not gpu.strip() or not amount:
            raise UsageError(f"{option} {text}", "an amount and its GPU belong together", "as 0=8G,1=4G")
        (gpu,) = parse_gpus(gpu.strip(), option)
        if gpu in on:
            raise UsageError(f"{option} {text}", f"GPU {gpu} is named twice")
        on[gpu] = None if lift and amount == LIFT else parse_memory(amount, option)
    return MemoryAsked(each, on)


def parse_size(text: str, option: str) -> int:
    """Parse a size to bytes: a number, or one with K, M, G, T (or KiB ...), all powers of 1024."""
    what = f"{option} {text}"
    if decimal := _DECIMAL_SIZE.fullmatch(text):
        letter = decimal[2].upper()
        exponent = _SUFFIXES[letter]
        raise UsageError(
            what,
            f"{letter}B means 10^{exponent * 3 // 10} bytes to some and 2^{exponent} to others",
            f"write {decimal[1]}{letter} for {decimal[1]} x 2^{exponent} bytes",
        )
    if text.startswith("-"):
        raise UsageError(what, "a size must be above zero", "as 512M or 8G")
    match = _SIZE.fullmatch(text)
    if not match or (match[2] and not match[3]):
        raise UsageError(
            what, "not a size", "bytes, or with K, M, G, T, as 8G; or a part of what there is, as 30%"
        )
    digits, fraction, suffix = match[1], match[2] or "", (match[3] or "").upper()
    size = (
        (int(digits + fraction) << _SUFFIXES[suffix]) // 10 ** len(fraction)
        if len(text) < 40
        else MAX_BYTES + 1
    )
    if size <= 0:
        raise UsageError(what, "a size must be above zero", "as 512M or 8G")
    if size > MAX_BYTES:
        raise UsageError(what, "nothing is that large", "as 512M or 8G")
    return size


def parse_percent(text: str, option: str) -> int:
    """Parse `30%`, `30` or `12.5%` to ppm of the device; above zero, 100 % at most."""
    what = f"{option} {text}"
    if text.startswith("-"):
        raise UsageError(what, "a share must be above zero", "as 30%")
    match = _PERCENT.fullmatch(text)
    if not match or len(text) > 24:
        raise UsageError(what, "not a percentage", "as 30% or 12.5%")
    whole, fraction, sign = match[1], match[2] or "", match[3]
    ppm = _scaled(whole, fraction, 4)
    if not sign and int(whole) == 0 and fraction.strip("0"):
        percent = format_percent(_scaled(whole, fraction, 6))
        raise UsageError(what, "a percentage is meant here", f"did you mean {percent} or --share {text}")
    if ppm == 0:
        raise UsageError(what, "a share must be above zero", "as 30%")
    if ppm > FULL_PPM:
        raise UsageError(what, "more than there is", "100% at most")
    return ppm


class ComputeAsked(NamedTuple):
    """A share of GPU time; `ceiling_ppm` is None where nothing may be borrowed above it."""

    guarantee_ppm: int
    ceiling_ppm: int | None


def parse_compute(text: str, option: str = "--compute") -> ComputeAsked:
    """Parse `30%`, a hard cap, or `30%..60%`, a guarantee and a ceiling."""
    low, is_range, high = text.partition("..")
    if not is_range:
        return ComputeAsked(parse_percent(text, option), None)
    try:
        guarantee, ceiling = parse_percent(low, option), parse_percent(high, option)
    except UsageError as error:
        raise UsageError(f"{option} {text}", error.why, "as 30%..60%") from None
    if guarantee > ceiling:
        raise UsageError(f"{option} {text}", "the guarantee is above the ceiling", "as 30%..60%")
    return ComputeAsked(guarantee, ceiling if ceiling > guarantee else None)


def parse_weight(text: str, option: str = "--weight") -> int:
    """Parse a weight, a whole number."""
    weight = int(text) if _WEIGHT.fullmatch(text) else 0
    if not 1 <= weight <= MAX_WEIGHT:
        raise UsageError(f"{option} {text}", "not a weight", f"a whole number from 1 to {MAX_WEIGHT}")
    return weight


DIRECTIONS = ("h2d", "d2h")
"""Over the bus: from the host to the device, and back; in the order of the ABI."""

LEAST_RATE = 1000
"""The shim counts in thousands of bytes a second."""


def parse_rates(text: str, option: str = "--pcie", *, lift: bool = False) -> dict[str, int | None]:
    """Parse `4G/s`, or `h2d=4G/s,d2h=2G/s`, to bytes a second; with `lift`, a direction's may be `none`."""
    found: dict[str, int | None] = {}
    for part in text.split(","):
        direction, named, amount = part.strip().rpartition("=")
        if named and direction not in DIRECTIONS:
            raise UsageError(f"{option} {text}", f"'{direction}' is no direction", "h2d or d2h, as h2d=4G/s")
        for way in (direction,) if named else DIRECTIONS:
            if way in found:
                raise UsageError(f"{option} {text}", f"two rates for {way}", "as h2d=4G/s,d2h=2G/s")
            found[way] = (
                None if lift and amount == LIFT else _rate(amount.strip(), f"{option} {text}", option)
            )
    return found


def _rate(amount: str, what: str, option: str) -> int:
    size, per_second, rest = amount.rpartition("/s")
    if not per_second or rest or not size:
        raise UsageError(what, "not a rate", "a size a second, as 4G/s or h2d=4G/s,d2h=2G/s")
    rate = parse_size(size, option)
    if rate < LEAST_RATE:
        raise UsageError(what, "nothing could be copied at that rate", "1K/s at least")
    return rate


def format_rates(rates: Mapping[str, int | None]) -> str:
    """Print what may be copied in a second as it could be typed again; nothing where there is no limit."""
    limited = {way: format_size(rate) + "/s" for way, rate in rates.items() if rate is not None}
    if len(limited) == len(DIRECTIONS) and len(set(limited.values())) == 1:
        return next(iter(limited.values()))
    return ",".join(f"{way}={rate}" for way, rate in limited.items())


PRIORITIES = ("high", "normal", "low")
MODES = ("auto", "concurrent", "turns")
PLACEMENTS = ("all", "best-fit", "spread")
"""On which GPUs a run is: on every one, or on one, the fullest where it fits, or the emptiest."""


def parse_choice(text: str, choices: tuple[str, ...], option: str) -> str:
    """Check that `text` is one of `choices`."""
    if text not in choices:
        *others, last = choices
        raise UsageError(f"{option} {text}", f"not one of {', '.join(others)} and {last}")
    return text


def parse_fraction(text: str, option: str = "--share") -> int:
    """Parse a fraction of the device, `0.3` or `1`, to ppm."""
    what = f"{option} {text}"
    if text.endswith("%"):
        ppm = parse_percent(text, option)
        raise UsageError(what, "a fraction is meant here", f"did you mean {option} {ppm / FULL_PPM:g}")
    match = _FRACTION.fullmatch(text)
    if not match or not (match[1] or match[2]) or len(text) > 24:
        raise UsageError(what, "not a fraction", "above 0 and at most 1, as 0.3")
    ppm = _scaled(match[1] or "0", match[2], 6)
    if not 0 < ppm <= FULL_PPM:
        raise UsageError(what, "a fraction must be above 0 and at most 1", "as 0.3")
    return ppm


def parse_wait(text: str, option: str = "--wait") -> float:
    """Parse how many seconds to wait; nothing is for ever."""
    return parse_seconds(text, option, "as --wait=60, or --wait alone") if text else math.inf


def parse_seconds(text: str, option: str, hint: str = "as 60") -> float:
    """Parse a number of seconds from 0."""
    if not _SECONDS.fullmatch(text):
        raise UsageError(f"{option} {text}", "not a number of seconds", hint)
    return float(text)


def parse_gpus(text: str, option: str = "--gpu") -> list[str]:
    """Parse `0,2` or `GPU-1b2c...,1` to a list of indices and UUIDs, still as text; none twice."""
    gpus: list[str] = []
    for part in text.split(","):
        gpu = part.strip()
        if not (_GPU_INDEX.fullmatch(gpu) or _GPU_UUID.fullmatch(gpu)):
            raise UsageError(
                f"{option} {text}", f"'{gpu}' is neither an index nor a UUID", "see gshare devices"
            )
        gpu = str(int(gpu)) if gpu.isdigit() else gpu
        if gpu in gpus:
            raise UsageError(f"{option} {text}", f"GPU {gpu} is named twice")
        gpus.append(gpu)
    return gpus


def parse_tenant(text: str, option: str = "--tenant") -> str:
    """Check a tenant's name: it is also the name of a folder."""
    if not _TENANT.fullmatch(text) or len(text) > MOST_IN_NAME:
        raise UsageError(
            f"{option} {text}",
            "not a tenant's name",
            f"letters, digits, '.', '_' and '-', at most {MOST_IN_NAME}, as team-a",
        )
    return text


def format_size(size_bytes: int) -> str:
    """Print bytes for people: `8G`, `1.5G`, `140.4G`, `512M`, `0`."""
    for suffix in ("T", "G", "M", "K"):
        unit = 1 << _SUFFIXES[suffix]
        if size_bytes >= unit:
            return f"{_trimmed(size_bytes * 10 // unit, 10)}{suffix}"
    return str(size_bytes)


def format_percent(ppm: int) -> str:
    """Print ppm for people: `30%`, `12.5%`, `0.01%`."""
    return f"{_trimmed(ppm, 10_000)}%"


def format_compute(guarantee_ppm: int, ceiling_ppm: int | None) -> str:
    """Print a share as it could be typed again."""
    share = format_percent(guarantee_ppm)
    return share if ceiling_ppm in (None, guarantee_ppm) else f"{share}..{format_percent(ceiling_ppm or 0)}"


def format_memory(memory: Memory) -> str:
    """Print what was asked for as it could be typed again."""
    return format_percent(memory.ppm) if memory.ppm is not None else format_size(memory.bytes or 0)


def format_memory_each(memory: Memory | None, on: Mapping[str, Memory | None]) -> str:
    """Print what was asked for on several devices as it could be typed again."""
    parts = [] if memory is None else [format_memory(memory)]
    parts += [f"{gpu}={LIFT if amount is None else format_memory(amount)}" for gpu, amount in on.items()]
    return ",".join(parts)


def _scaled(whole: str, fraction: str, decimals: int) -> int:
    """`whole.fraction` times 10^decimals, further digits cut off, never zero for something above it."""
    digits = int(whole + (fraction + "0" * decimals)[:decimals])
    return max(digits, 1) if (whole + fraction).strip("0") else 0


def _trimmed(value: int, scale: int) -> str:
    """`value / scale` in decimal without trailing zeros; `scale` is a power of ten."""
    whole, rest = divmod(value, scale)
    return f"{whole}.{rest:0{len(str(scale)) - 1}d}".rstrip("0").rstrip(".")


def printable(text: str) -> str:
    """What others call something, without what a terminal would take for commands."""
    return "".join(c if c.isprintable() else "?" for c in text)
