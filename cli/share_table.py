"""`gshare ps --compute`: what each tenant asked for and got of each GPU's time."""

from collections.abc import Sequence

from gshare.cli.render import NOTHING, gpu, print_table
from gshare.controller.share_replies import ShareWindow, TenantShare
from gshare.controller.units import format_compute

HEADER = ("TENANT", "GPU", "ASKED", "MAY", "1S", "10S", "60S", "WAIT", "QUEUE", "LENT", "STATE")
NAME_WIDTH = 16


def print_shares(shares: Sequence[TenantShare]) -> None:
    """A row for each tenant and GPU; readable at 80 columns."""
    print_table(HEADER, [row(share) for share in shares])


def row(share: TenantShare) -> tuple[str, ...]:
    """One tenant on one GPU."""
    got = [percent(window.share_ppm) for window in share.windows]
    last = share.windows[0] if share.windows else None
    return (
        shortened(share.tenant),
        NOTHING if share.index is None else gpu(share.index, share.simulated),
        asked(share),
        NOTHING if share.granted_ppm is None else percent(share.granted_ppm),
        *got,
        *[NOTHING] * (3 - len(got)),
        NOTHING if last is None else percent(last.throttled_ppm),
        NOTHING if last is None else duration(last.queue_wait_ns),
        NOTHING if last is None else loan(last),
        share.state,
    )


def asked(share: TenantShare) -> str:
    """As `30%..60%`, or `w2` for a weight."""
    if share.guarantee_ppm is not None:
        return format_compute(share.guarantee_ppm, share.ceiling_ppm)
    return NOTHING if share.weight is None else f"w{share.weight}"


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """A name that takes so many columns at most."""
    return name if len(name) <= width else name[: width - 1] + "…"


def percent(ppm: int) -> str:
    """Without decimals: a column is narrow."""
    return f"{ppm / 10_000:.0f}%"


def duration(ns: int) -> str:
    """As `0`, `12us`, `1.2ms`, `3.4s`."""
    for unit, name in ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")):
        if ns >= unit:
            return f"{ns / unit:.1f}{name}" if ns < 10 * unit else f"{ns / unit:.0f}{name}"
    return "0"


def loan(window: ShareWindow) -> str:
    """`+12%` is borrowed, `-12%` lent."""
    if window.borrowed_ppm >= window.lent_ppm:
        return f"+{percent(window.borrowed_ppm)}" if window.borrowed_ppm else NOTHING
    return f"-{percent(window.lent_ppm)}"
