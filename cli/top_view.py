"""`gshare top` as lines of a terminal: a pure function of the model and the terminal's size."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from gshare.cli.render import NOTHING, gpu
from gshare.cli.share_table import asked, duration, percent, shortened
from gshare.cli.top_model import Model, TenantRow
from gshare.controller.replies import DeviceUse, Unmanaged, Waiting
from gshare.controller.share_replies import TenantShare
from gshare.controller.units import FULL_PPM, format_percent, format_size, printable

BARS = " ▁▂▃▄▅▆▇█"
LEAST_TENANTS = 6
"""Lines that the table of tenants has at least, with its header."""

MOST_LINES = 4
"""About who waits to be let in, and about unmanaged processes."""

MINUTE = 60
KEYS = "q quit  s sort  / filter  p pause  + - share  e edit limits  j k select"
STYLES = {"throttled": "yellow", "yielding": "yellow", "paused": "magenta", "busy": "green"}
GOT_WIDTH = 10
COLUMNS = (("TENANT", 14), ("GPU", 6), ("MEM", 11), ("ASKED", 9), ("GOT", GOT_WIDTH), ("1S", 4), ("60S", 4),
           ("WAIT", 5), ("STATE", 9))  # fmt: skip


SORTED_BY = {"TENANT": "name", "MEM": "memory", "GOT": "compute", "1S": "compute", "WAIT": "waiting"}
"""What a column's head sorts by."""

NAMED_WIDTH = sum(size + 1 for _, size in COLUMNS[:4])
"""The columns that say who a tenant is and what it has: what is shown of the selected one."""


def frame(model: Model, width: int, height: int) -> list[Text]:
    """As many lines as there are rows, none wider than the terminal."""
    above, below = around(model, width, height)
    body = above + _tenants(model.tenants(), height - len(above) - len(below) - 1)
    body += [Text()] * (height - 1 - len(body) - len(below)) + below
    for line in (lines := [*body[: max(height - 1, 0)], status(model)]):
        line.truncate(width)
    return lines


def around(model: Model, width: int, height: int) -> tuple[list[Text], list[Text]]:
    """What is above the table of tenants, and below it."""
    now_ns = model.top.now_ns if model.top else 0
    below = _some(_queue(model.queue(), now_ns), "who wait")
    below += _some(_unmanaged(model.unmanaged()), "unmanaged processes")
    devices = _devices(model.devices(), width, height - len(below) - 2 - LEAST_TENANTS)
    return [_title(model), *devices], below


def _title(model: Model) -> Text:
    if model.top is None:
        return Text("gshare top", "bold")
    tenants = {share.tenant for share in model.top.tenants}
    waiting = {share.tenant for share in model.top.tenants if share.state in ("throttled", "yielding")}
    return Text.assemble(
        ("gshare top", "bold"),
        f"  {count(len(model.top.devices), 'device')}, {count(len(tenants), 'tenant')}",
        f", {len(waiting)} waiting",
        f", {len(model.queue())} queued" if model.queue() else "",
        ", " if model.unmanaged() else "",
        (f"{len(model.unmanaged())} unmanaged" if model.unmanaged() else "", "bold red"),
        f"  by {model.sort}",
    )


def _devices(rows: Sequence[DeviceUse], width: int, room: int) -> list[Text]:
    """Four lines each; where there is no room for that, one; and for the rest how many there are."""
    full = [line for row in rows for line in _device(row, width)]
    lines = full if len(full) <= room else [_short(row, width) for row in rows]
    if len(lines) > max(room, 1):
        hidden = len(lines) - max(room - 1, 0)
        lines = [*lines[: len(lines) - hidden], Text(f"… and {hidden} more devices", "dim")]
    return lines


def _device(row: DeviceUse, width: int) -> list[Text]:
    number = gpu(row.index, row.simulated)
    wide = max(width - 52, 10)
    used = f"{format_size(row.used_bytes)} of {format_size(row.memory_bytes)}"
    promised = f"{format_size(row.promised_memory_bytes)} promised"
    got = "not measured" if row.got_ppm is None else percent(row.got_ppm)
    return [
        Text.assemble(
            (f"GPU {number} {row.name}", "bold"), f"  {row.mode}, {count(len(row.tenants), 'tenant')}"
        ),
        Text.assemble("  memory   ", memory_bar(row, wide), f" {used}, {promised}"),
        Text.assemble(
            "  compute  ",
            bar(row.got_ppm or 0, FULL_PPM, wide, mark=row.promised_compute_ppm),
            f" {got}, {format_percent(row.promised_compute_ppm)} asked",
        ),
        Text.assemble("  minute   ", (sparkline(row.seconds_ppm, min(MINUTE, max(width - 12, 1))), "cyan")),
    ]


def _short(row: DeviceUse, width: int) -> Text:
    wide = max((width - 40) // 4, 4)
    return Text.assemble(
        (f"GPU {gpu(row.index, row.simulated):5} ", "bold"),
        "mem ",
        memory_bar(row, wide),
        f" {format_size(row.used_bytes):>7} time ",
        bar(row.got_ppm or 0, FULL_PPM, wide, mark=row.promised_compute_ppm),
        f" {NOTHING if row.got_ppm is None else percent(row.got_ppm):>4} ",
        (sparkline(row.seconds_ppm, wide), "cyan"),
    )


def _queue(waiting: Sequence[Waiting], now_ns: int) -> list[Text]:
    """Who waits to be let in, and for what; nothing where nobody does."""
    return [
        Text.assemble(
            ("queue ", "bold yellow"),
            f"{entry.place}. {entry.tenant or f'pid {entry.pid}'} {entry.user or NOTHING}, "
            f"{duration(now_ns - entry.since_ns)}: {printable(entry.why or asked_to_run(entry))}",
        )
        for entry in waiting
    ]


def _unmanaged(processes: Sequence[Unmanaged]) -> list[Text]:
    """Who uses a device without gshare; nothing where nobody does."""
    return [
        Text.assemble(
            ("unmanaged ", "bold red"),
            f"pid {process.pid} {process.user or NOTHING}, "
            f"GPU {NOTHING if process.index is None else gpu(process.index, process.simulated)}, "
            f"{NOTHING if process.used_bytes is None else format_size(process.used_bytes)}: "
            + printable(process.command),
        )
        for process in processes
    ]


def _some(lines: list[Text], what: str) -> list[Text]:
    """So many lines at most, the last of which then says how many more there are."""
    if len(lines) <= MOST_LINES:
        return lines
    rest = len(lines) - MOST_LINES + 1
    return [*lines[: MOST_LINES - 1], Text(f"… and {rest} more {what}", "dim")]


def _tenants(rows: Sequence[TenantRow], height: int) -> list[Text]:
    """The table; where not all fit, those around the selected one."""
    header = Text(" ".join(name.ljust(size) for name, size in COLUMNS), "bold underline")
    if not rows:
        return [header, Text("nobody runs under gshare, or passes the filter", "dim")]
    room = max(height - 1, 1)
    chosen = next((at for at, row in enumerate(rows) if row.selected), 0)
    first = max(0, min(chosen - room // 2, len(rows) - room))
    return [header, *(_tenant(row) for row in rows[first : first + room])]


def _tenant(row: TenantRow) -> Text:
    line = Text(" ").join(cells(row.share))
    if row.selected:
        line.stylize("reverse", 0, NAMED_WIDTH)
    return line


def cells(share: TenantShare) -> list[Text]:
    """What the table says of a tenant, as wide as its columns."""
    last = share.windows[0] if share.windows else None
    limit = NOTHING if share.memory_limit_bytes is None else format_size(share.memory_limit_bytes)
    named = (
        shortened(share.tenant, COLUMNS[0][1]),
        NOTHING if share.index is None else gpu(share.index, share.simulated),
        f"{format_size(share.used_bytes)}/{limit}",
        asked(share),
    )
    wait = NOTHING if last is None else percent(max(last.throttled_ppm, last.copy_waited_ppm))
    if last is not None and last.throttled_ppm == 0 and last.queue_wait_ns:
        wait = duration(last.queue_wait_ns)
    return [
        *(Text(cell[:size].ljust(size)) for cell, (_, size) in zip(named, COLUMNS, strict=False)),
        bar(last.share_ppm if last else 0, FULL_PPM, GOT_WIDTH, mark=share.granted_ppm),
        Text(f"{NOTHING if last is None else percent(last.share_ppm):4}"),
        Text(f"{NOTHING if last is None else percent(share.windows[-1].share_ppm):4}"),
        Text(f"{wait:5}"),
        Text(share.state, STYLES.get(share.state, "")),
    ]


def status(model: Model) -> Text:
    """The last line: what is being typed, what came of it, or the keys."""
    chosen = model.selected()
    if model.edit is not None and chosen is not None:
        return Text(f"limits of {chosen.tenant}, as mem 8G compute 30%: {model.edit}█", "bold")
    if model.typing:
        return Text(f"/{model.filter}█", "bold")
    shown = f"filter: {model.filter}  " if model.filter else ""
    message = model.trouble or model.message
    return Text(message, "bold yellow") if message else Text(shown + KEYS, "dim")


def count(number: int, what: str) -> str:
    """As `1 tenant`, `2 tenants`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def asked_to_run(entry: Waiting) -> str:
    """What somebody who waits wants to run."""
    return entry.command or "another user's"


def memory_bar(device: DeviceUse, width: int) -> Text:
    """What is used of a device, and a line at what is promised."""
    return bar(device.used_bytes, device.memory_bytes, width, mark=device.promised_memory_bytes)


def bar(value: int, full: int, width: int, mark: int | None = None) -> Text:
    """As much of the width as `value` is of `full`, and a line at `mark`."""
    filled = min(value * width // full, width) if full else 0
    text = Text("█" * filled + "░" * (width - filled), "green")
    if mark and full and 0 < mark < full:
        at = min(mark * width // full, width - 1)
        text = Text.assemble(text[:at], ("┃" if at < filled else "│", "yellow"), text[at + 1 :])
    return text


def sparkline(seconds_ppm: Sequence[int], width: int) -> str:
    """The last seconds, one a column, newest last."""
    steps = len(BARS) - 1
    shown = [BARS[-(-min(ppm, FULL_PPM) * steps // FULL_PPM)] for ppm in seconds_ppm[-width:]]
    return "".join(shown).rjust(width)
