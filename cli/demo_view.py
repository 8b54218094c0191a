"""What `gshare demo` shows: live bars on a terminal, plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from gshare.controller.units import FULL_PPM, format_percent, format_size

if TYPE_CHECKING:
    from gshare.cli.demo import Tenant

PLAIN_EVERY_S = 1.0


class View:
    """What a person sees: live bars on a terminal, a line a second elsewhere, nothing with --json."""

    def __init__(self, console: Console, why_simulated: str = "") -> None:
        self.console = console
        self.why_simulated = why_simulated
        self._live: Live | None = None
        self._next_line_s = PLAIN_EVERY_S

    def begin(self, sharing: list[Tenant], device: str, *, quota_bytes: int, wanted_bytes: int) -> None:
        kind = f"a simulated {device} ({self.why_simulated})" if self.why_simulated else device
        self.console.print(f"Sharing {kind}:", highlight=False, markup=False)
        for tenant in sharing:
            self.console.print(
                f"  {tenant.name}: gshare run --compute {format_percent(tenant.asked_ppm or 0)} …",
                highlight=False,
            )
        self.console.print(
            f"  tenant C: gshare run --mem {format_size(quota_bytes)} …, "
            f"and tries to take {format_size(wanted_bytes)}\n",
            highlight=False,
        )

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=10, transient=True) as self._live:
            yield
        self._live = None

    def show(self, sharing: list[Tenant], got_ppm: list[int], greedy: Tenant, elapsed_s: float) -> None:
        """`got_ppm`: the shares so far, measured as in the table at the end."""
        if self._live:
            self._live.update(_bars(sharing, got_ppm, greedy))
        elif elapsed_s >= self._next_line_s:
            self._next_line_s += PLAIN_EVERY_S
            pairs = zip(sharing, got_ppm, strict=True)
            shares = "   ".join(f"{tenant.name} {got / 1e4:5.1f} %" for tenant, got in pairs)
            self.console.print(f"{elapsed_s:4.1f} s   {shares}", highlight=False)

    def end(self, result: dict[str, Any]) -> None:
        table = Table("", "asked", "got", "held", box=None, pad_edge=False, padding=(0, 4, 0, 0))
        for row in result["compute"]:
            table.add_row(
                f"{row['tenant']}, GPU time",
                f"{row['asked_ppm'] / 1e4:.1f} %",
                f"{row['got_ppm'] / 1e4:.1f} %",
                _yes(row["held"]),
            )
        memory = result["memory"]
        got = f"{format_size(memory['got_bytes'])}, then {memory['refused'] or 'no refusal'}"
        table.add_row(
            f"{memory['tenant']}, memory",
            f"{format_size(memory['quota_bytes'])} at most",
            got,
            _yes(memory["held"]),
        )
        self.console.print()
        self.console.print(table, highlight=False)


class Silent(View):
    """For --json."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))


def _bars(sharing: list[Tenant], got_ppm: list[int], greedy: Tenant) -> Table:
    table = Table.grid(padding=(0, 2))
    for tenant, got in zip(sharing, got_ppm, strict=True):
        bar = ProgressBar(
            FULL_PPM, min(got, FULL_PPM), width=50, complete_style="cyan", finished_style="cyan"
        )
        asked = f"asked {format_percent(tenant.asked_ppm or 0)}"
        table.add_row(tenant.name, asked, bar, f"got {got / 1e4:5.1f} %")
    memory = greedy.said.get("memory")
    state = f"{memory['refused']} at {format_size(memory['got_bytes'])}" if memory else "starting"
    table.add_row(greedy.name, "", state, "")
    return table


def _yes(is_held: bool) -> str:
    return "[green]yes[/]" if is_held else "[bold red]no[/]"
