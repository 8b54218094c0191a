"""`gshare top --textual`: the same picture and keys, with a mouse and a table that scrolls."""

from __future__ import annotations

import asyncio
import signal
from typing import ClassVar

from rich.console import Group
from textual import events
from textual.app import App, ComposeResult
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Static

from gshare.cli.top_model import BACKSPACE, DOWN, ENTER, ESCAPE, UP, Model
from gshare.cli.top_session import carry_out, look
from gshare.cli.top_view import COLUMNS, SORTED_BY, around, cells, status
from gshare.controller.client import Client
from gshare.controller.protocol import Request

NAMED_KEYS = (UP, DOWN, ESCAPE, ENTER, BACKSPACE)
"""Textual calls them so, too."""


class TopApp(App[None]):
    """Devices above, tenants in a table, who waits and the keys below."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    DataTable { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Static { height: auto; }
    """
    BINDINGS: ClassVar = [("ctrl+c", "quit", "")]

    def __init__(self, client: Client, model: Model, interval: float) -> None:
        super().__init__(ansi_color=True)
        self.client, self.model, self.interval = client, model, interval
        self.asking = asyncio.Lock()

    def compose(self) -> ComposeResult:
        """Top to bottom."""
        yield Static(id="above")
        table: DataTable[object] = DataTable(cursor_type="row", cell_padding=0)
        table.can_focus = False  # keys are the model's
        for name, size in COLUMNS:
            table.add_column(name, width=size + 1, key=name)
        yield table
        yield Static(id="below")
        yield Static(id="status")

    def on_mount(self) -> None:
        """Draw what there is, and look again every so often; a signal leaves the terminal as it was."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)
        self.draw()
        self.set_interval(self.interval, lambda: self.run_worker(self.look()))

    @property
    def table(self) -> DataTable[object]:
        """Of tenants."""
        return self.query_one(DataTable)

    def draw(self) -> None:
        """Show the model."""
        above, below = around(self.model, self.size.width, self.size.height)
        self.query_one("#above", Static).update(Group(*above))
        self.query_one("#below", Static).update(Group(*below))
        self.query_one("#status", Static).update(status(self.model))
        with self.prevent(DataTable.RowHighlighted):
            self.draw_tenants()

    def draw_tenants(self) -> None:
        """Keep it scrolled where it is, but for a tenant that has just been selected."""
        rows, table = self.model.tenants(), self.table
        if len(rows) != table.row_count:
            table.clear()
            for row in rows:
                table.add_row(*cells(row.share))
        else:
            for at, row in enumerate(rows):
                for column, cell in enumerate(cells(row.share)):
                    table.update_cell_at(Coordinate(at, column), cell)
        chosen = next((at for at, row in enumerate(rows) if row.selected), 0)
        if chosen != table.cursor_row:
            table.move_cursor(row=chosen)

    async def look(self) -> None:
        """Ask, while keys and mouse go on; one question at a time."""
        if not self.asking.locked():
            async with self.asking:
                await asyncio.to_thread(look, self.client, self.model)
            self.draw()

    async def carry_out(self, request: Request) -> None:
        """Have done what a key stands for, after what is being asked."""
        async with self.asking:
            await asyncio.to_thread(carry_out, self.client, self.model, request)
        self.draw()

    def on_key(self, event: events.Key) -> None:
        """As in the plain view."""
        key = event.key if event.key in NAMED_KEYS else event.character
        if key is None:
            return
        event.stop()
        request = self.model.press(key)
        if self.model.done:
            self.exit()
        elif request is not None:
            self.run_worker(self.carry_out(request))
        self.draw()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """A click on a tenant."""
        self.model.select(event.cursor_row)
        self.draw()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a column's head."""
        self.model.sort = SORTED_BY.get(str(event.column_key.value), self.model.sort)
        self.draw()

    def on_resize(self) -> None:
        """Another size has room for more."""
        self.draw()
