"""`gshare top --textual`: the same model and keys, with a mouse; driven by textual's own pilot."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("textual", reason="needs textual, as gshare[textual] has it")

from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from gshare.cli.top_model import Model
from gshare.cli.top_textual import TopApp
from gshare.cli.top_view import COLUMNS
from gshare.controller.errors import GshareError
from gshare.controller.protocol import Change, GetTop, Pause, Request, SetLimits
from gshare.controller.replies import Top
from gshare.controller.units import Memory

from .conftest import Home
from .terminal import Terminal
from .test_top import GIB, model, share

NEVER_S = 3600.0
SIZE = (80, 24)


class Controller:
    """Answers as one would, and remembers what it was asked to do."""

    def __init__(self, shown: Model) -> None:
        assert shown.top is not None
        self.top: Top | GshareError = shown.top
        self.done: list[Request] = []

    def ask(self, request: Request) -> Any:
        if isinstance(self.top, GshareError):
            raise self.top
        if isinstance(request, GetTop):
            return self.top
        self.done.append(request)
        return None


def drive(shown: Model, steps: Callable[[TopApp, Pilot[None], Controller], Awaitable[None]]) -> None:
    controller = Controller(shown)
    app = TopApp(controller, shown, NEVER_S)  # type: ignore[arg-type]

    async def run() -> None:
        async with app.run_test(size=SIZE) as pilot:
            await steps(app, pilot, controller)

    asyncio.run(run())


def column(app: TopApp, at: int = 0) -> list[str]:
    table = app.query_one(DataTable)
    cells = [table.get_row_at(row)[at] for row in range(table.row_count)]
    return [cell.plain.strip() for cell in cells if isinstance(cell, Text)]


def said(app: TopApp, where: str) -> str:
    return "\n".join(strip.text for strip in app.query_one(where, Static).render_lines(app.screen.region))


def three() -> Model:
    return model(
        share(tenant="alpha", used_bytes=GIB),
        share(tenant="beta", used_bytes=2 * GIB, guarantee_ppm=500_000, ceiling_ppm=700_000),
        share(tenant="gamma", used_bytes=3 * GIB),
        unmanaged=1,
    )


def test_keys_do_what_they_do_in_the_plain_view() -> None:
    shown = three()

    async def steps(app: TopApp, pilot: Pilot[None], controller: Controller) -> None:
        assert column(app) == ["alpha", "beta", "gamma"]
        assert not app.query_one(DataTable).show_horizontal_scrollbar
        assert "GPU sim:0 NVIDIA H200" in said(app, "#above")
        assert "unmanaged pid 0 eve" in said(app, "#below")
        await pilot.press("s")
        assert column(app) == ["gamma", "beta", "alpha"], "by memory"
        await pilot.press("slash", "b", "e", "t", "x", "backspace", "enter")
        assert column(app) == ["beta"]
        await pilot.press("p", "-", "e", *"mem", "space", *"4G", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert controller.done == [
            Pause("beta", True),
            SetLimits("beta", Change(compute_ppm=450_000, ceiling_ppm=700_000)),
            SetLimits("beta", Change(memory=Memory(4 * GIB, None))),
        ]
        assert "beta: changed" in said(app, "#status")
        controller.top = GshareError("controller", "does not answer")
        await app.look()
        assert "controller: does not answer" in said(app, "#status")
        assert column(app) == ["beta"], "what was seen last stays"
        assert shown.top is not None
        controller.top = shown.top
        await app.look()
        assert "does not answer" not in said(app, "#status")
        await pilot.press("escape")
        assert column(app) == ["gamma", "beta", "alpha"]
        await pilot.press("q")
        assert app.return_code == 0

    drive(shown, steps)


def test_a_click_selects_a_tenant_or_sorts_and_the_wheel_scrolls() -> None:
    many = model(*(share(tenant=f"t{at:02}", used_bytes=at * GIB) for at in range(40)))

    async def steps(app: TopApp, pilot: Pilot[None], controller: Controller) -> None:
        table = app.query_one(DataTable)
        await pilot.click(DataTable, offset=(2, 4))  # its head is line 0
        await pilot.pause()
        chosen = app.model.selected()
        assert chosen is not None
        assert chosen.tenant == "t03"
        memory = sum(width + 1 for _, width in COLUMNS[:2]) + 1
        await pilot.click(DataTable, offset=(memory, 0))
        await pilot.pause()
        assert app.model.sort == "memory"
        assert column(app)[0] == "t39"
        assert app.model.selected() == chosen, "it stays selected, wherever it is"
        assert table.cursor_row == 36
        await pilot.press("p")
        await app.workers.wait_for_complete()
        assert controller.done == [Pause("t03", True)]
        table.scroll_to(y=0, animate=False)
        await pilot.pause()
        await app.look()
        assert table.scroll_y == 0, "looking anew leaves it there"

    drive(many, steps)


def test_without_textual_it_says_so_in_one_line() -> None:
    script = "import sys; sys.modules['textual'] = sys.modules['textual.app'] = None\n"
    script += "sys.stdin.isatty = sys.stdout.isatty = lambda: True\n"
    script += "from gshare.cli.main import main; main(['top', '--textual'])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    line = "gshare: top --textual: needs textual (pip install 'gshare[textual]')\n"
    assert (told.returncode, told.stderr) == (2, line)


def test_a_signal_leaves_the_terminal_as_it_was(home: Home) -> None:
    top = Terminal(home, "top", "--textual")
    try:
        top.wait_for(lambda text: "TENANT" in text and "q quit" in text)
        top.child.send_signal(signal.SIGTERM)
        assert top.end() == 128 + signal.SIGTERM
    finally:
        top.close()
