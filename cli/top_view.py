"""`gshare top` as lines of a terminal: a pure function of the model and the terminal's size."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from gshare.cli.render import NOTHING, gpu
from gshare.cli.share_table import asked, duration, percent, shortened
from gshare.cli.top_model import MINUTE, DeviceRow, Model, TenantRow
from gshare.controller.units import FULL_PPM, format_percent, format_size

BARS = " ▁▂▃▄▅▆▇█"
LEAST_TENANTS = 6
"""Lines that the table of tenants has at least, with its header."""

KEYS = "q quit  s sort  / filter  p pause  + - share  j k select"
STYLES = {"throttled": "yellow", "yielding": "yellow", "paused": "magenta", "busy": "green"}
GOT_WIDTH = 10
COLUMNS = (("TENANT", 14), ("GPU", 6), ("MEM", 11), ("ASKED", 9), ("GOT", GOT_WIDTH), ("1S", 4), ("60S", 4),
           ("WAIT", 5), ("STATE", 9))  # fmt: skip


def frame(model: Model, width: int, height: int) -> list[Text]:
    """As many lines as there are rows, none wider than the terminal."""
    head = [_title(model)]
    rows = model.devices()
    full = [line for row in rows for line in _device(row, width)]
    short = [_short(row, width) for row in rows]
    room = height - len(head) - 1 - LEAST_TENANTS
    devices = full if len(full) <= room else short
    if len(devices) > max(room, 1):
        hidden = len(devices) - max(room - 1, 0)
        devices = [*devices[: len(devices) - hidden], Text(f"… and {hidden} more devices", "dim")]
    tenants = _tenants(model.tenants(), height - len(head) - len(devices) - 1)
    body = [*head, *devices, *tenants][: max(height - 1, 0)]
    body += [Text()] * (height - 1 - len(body))
    for line in (lines := [*body, _status(model)]):
        line.truncate(width)
    return lines


def _title(model: Model) -> Text:
    if model.shares is None:
        return Text("gshare top", "bold")
    tenants = {share.tenant for share in model.shares.tenants}
    waiting = {share.tenant for share in model.shares.tenants if share.state in ("throttled", "yielding")}
    return Text.assemble(
        ("gshare top", "bold"),
        f"  {count(len(model.shares.devices), 'device')}, {count(len(tenants), 'tenant')}",
        f", {len(waiting)} waiting  sorted by {model.sort}",
    )


def _device(row: DeviceRow, width: int) -> list[Text]:
    device = row.device
    number = gpu(device.index, device.simulated)
    wide = max(width - 52, 10)
    used = f"{format_size(device.used_bytes)} of {format_size(device.memory_bytes)}"
    promised = f"{format_size(device.promised_memory_bytes)} promised"
    got = percent(row.got_ppm) if row.metered else "not measured"
    return [
        Text.assemble(
            (f"GPU {number} {device.name}", "bold"), f"  {device.mode}, {count(row.tenants, 'tenant')}"
        ),
        Text.assemble(
            "  memory   ", bar(device.used_bytes, device.memory_bytes, wide), f" {used}, {promised}"
        ),
        Text.assemble(
            "  compute  ",
            bar(row.got_ppm, FULL_PPM, wide, mark=device.promised_compute_ppm),
            f" {got}, {format_percent(device.promised_compute_ppm)} asked",
        ),
        Text.assemble("  minute   ", (sparkline(row.seconds_ppm, min(MINUTE, max(width - 12, 1))), "cyan")),
    ]


def _short(row: DeviceRow, width: int) -> Text:
    device = row.device
    wide = max((width - 40) // 4, 4)
    return Text.assemble(
        (f"GPU {gpu(device.index, device.simulated):5} ", "bold"),
        "mem ",
        bar(device.used_bytes, device.memory_bytes, wide),
        f" {format_size(device.used_bytes):>7} time ",
        bar(row.got_ppm, FULL_PPM, wide, mark=device.promised_compute_ppm),
        f" {percent(row.got_ppm) if row.metered else NOTHING:>4} ",
        (sparkline(row.seconds_ppm, wide), "cyan"),
    )


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
    share, last = row.share, row.share.windows[0] if row.share.windows else None
    limit = NOTHING if share.memory_limit_bytes is None else format_size(share.memory_limit_bytes)
    got = NOTHING if last is None else percent(last.share_ppm)
    over = NOTHING if last is None else percent(share.windows[-1].share_ppm)
    wait = NOTHING if last is None else percent(max(last.throttled_ppm, last.copy_waited_ppm))
    if last is not None and last.throttled_ppm == 0 and last.queue_wait_ns:
        wait = duration(last.queue_wait_ns)
    cells = (
        shortened(share.tenant, COLUMNS[0][1]),
        NOTHING if share.index is None else gpu(share.index, share.simulated),
        f"{format_size(share.used_bytes)}/{limit}",
        asked(share),
    )
    line = Text()
    for cell, (_, size) in zip(cells, COLUMNS, strict=False):
        line.append(cell[:size].ljust(size) + " ")
    line.append_text(bar(last.share_ppm if last else 0, FULL_PPM, GOT_WIDTH, mark=share.granted_ppm))
    line.append(f" {got:4} {over:4} {wait:5} ")
    line.append(share.state, STYLES.get(share.state, ""))
    if row.selected:
        line.stylize("reverse")
    return line


def _status(model: Model) -> Text:
    if model.typing:
        return Text(f"/{model.filter}█", "bold")
    shown = f"  filter: {model.filter}" if model.filter else ""
    return Text(model.message, "bold yellow") if model.message else Text(KEYS + shown, "dim")


def count(number: int, what: str) -> str:
    """As `1 tenant`, `2 tenants`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


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
