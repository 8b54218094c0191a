"""`gshare top`: what it shows and what its keys do, and that it leaves a terminal as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from gshare.cli.keys import split
from gshare.cli.share_table import HEADER, row
from gshare.cli.top_model import BACKSPACE, DOWN, ENTER, ESCAPE, SORTS, UP, Model, changed, parse_limits
from gshare.cli.top_view import bar, frame, sparkline
from gshare.controller.errors import GshareError
from gshare.controller.picture import device_use
from gshare.controller.protocol import Change, Pause, SetLimits
from gshare.controller.replies import Device, Top, Unmanaged, Waiting
from gshare.controller.share_replies import ShareWindow, TenantShare
from gshare.controller.units import Memory
from gshare.shim import sim

from .conftest import ALLOCATE, Home
from .terminal import Terminal

GIB = 1 << 30
WINDOWS = [ShareWindow(s, s, 295_000, 300_000, 640_000, 1_250_000, 0, 50_000, 0, 0, 0) for s in (1, 10, 60)]
SHARE = TenantShare(
    tenant="a", index=0, uuid="GPU-0", simulated=True, processes=1, state="busy", mode="concurrent",
    metered=True, guarantee_ppm=300_000, ceiling_ppm=300_000, weight=None, priority="normal",
    promised_ppm=300_000, granted_ppm=300_000, busy_above=[], turn_ns=None, period_ns=None,
    used_bytes=GIB, memory_limit_bytes=8 * GIB, copy_bytes_per_s={}, windows=WINDOWS,
    seconds_ppm=[295_000] * 60,
)  # fmt: skip


def share(**more: Any) -> TenantShare:
    return msgspec.structs.replace(SHARE, **more)


def device(index: int, tenants: list[str]) -> Device:
    return Device(
        index, f"GPU-{index}", "NVIDIA H200", "1", True, "m", 140 * GIB, 8 * GIB, 300_000, GIB, tenants
    )


def stranger(pid: int, command: str = "python x.py") -> Unmanaged:
    return Unmanaged(pid, "eve", 0, "GPU-0", True, GIB, command)


def model(*tenants: TenantShare, devices: int = 1, unmanaged: int = 0) -> Model:
    names = [[share.tenant for share in tenants if share.uuid == f"GPU-{i}"] for i in range(devices)]
    uses = [device_use(device(index, names[index]), tenants) for index in range(devices)]
    return Model(Top(5, uses, list(tenants), [stranger(pid) for pid in range(unmanaged)], []))


def names(shown: Model) -> list[str]:
    return [row.share.tenant for row in shown.tenants()]


def selected(shown: Model) -> list[str]:
    return [row.share.tenant for row in shown.tenants() if row.selected]


# -------- the model


def test_keys_sort_filter_and_select() -> None:
    small = [msgspec.structs.replace(WINDOWS[0], share_ppm=10_000, throttled_ppm=900_000)]
    shown = model(
        share(), share(tenant="b", windows=small, used_bytes=2 * GIB), share(tenant="c", windows=[])
    )
    assert names(shown) == ["a", "b", "c"]
    orders = []
    for _ in SORTS:
        shown.press("s")
        orders.append((shown.sort, "".join(names(shown))))
    assert orders == [("memory", "bac"), ("waiting", "bac"), ("name", "abc"), ("compute", "abc")]
    assert selected(shown) == ["a"]
    for key, name in ((DOWN, "b"), ("j", "c"), ("j", "c"), (UP, "b"), ("k", "a"), ("k", "a")):
        assert shown.press(key) is None
        assert selected(shown) == [name]
    for key in "/qs":
        shown.press(key)
    assert (shown.typing, shown.filter, shown.done, shown.sort) == (True, "qs", False, "compute")
    for key in (BACKSPACE, BACKSPACE, "B", ENTER):
        shown.press(key)
    assert (names(shown), selected(shown), shown.typing) == (["b"], ["b"], False)
    shown.press(ESCAPE)
    assert names(shown) == ["a", "b", "c"]
    shown.press("q")
    assert shown.done


def test_keys_pause_and_change_what_is_selected() -> None:
    shown = model(share(state="paused"), share(tenant="b", guarantee_ppm=None, weight=None))
    assert shown.press("p") == Pause("a", False)
    assert shown.press("+") == SetLimits("a", Change(compute_ppm=350_000))
    assert shown.press("-") == SetLimits("a", Change(compute_ppm=250_000))
    shown.press("j")
    assert shown.press("p") == Pause("b", True)
    assert shown.press("+") is None
    assert "neither a share nor a weight" in shown.message
    assert Model().press("p") is model().press("+") is None


def test_limits_are_typed_and_set() -> None:
    shown = model(share())
    for key in "emem 2G compute 30%..60%":
        assert shown.press(key) is None
    assert "limits of a, as mem 8G compute 30%: mem 2G compute 30%..60%█" in frame(shown, 80, 24)[-1].plain
    wanted = Change(memory=Memory(2 * GIB, None), compute_ppm=300_000, ceiling_ppm=600_000)
    assert shown.press(ENTER) == SetLimits("a", wanted)
    for keys in ("e\r", "emem 2G\x1b"):
        assert [shown.press(key) for key in split(keys)] == [None] * len(split(keys))
    assert (shown.edit, shown.message) == (None, "")
    assert [shown.press(key) for key in split("emem 8GB\r")][-1] is None
    assert "8GB" in shown.message


@pytest.mark.parametrize("text", ["mem", "speed 3", "mem 8G compute", "mem '8G", "8G"])
def test_what_is_not_a_limit_is_refused(text: str) -> None:
    with pytest.raises(GshareError):
        parse_limits(text)


def test_limits_may_be_typed_as_options() -> None:
    assert parse_limits("--host-mem=1G") == parse_limits("host-mem 1G") == Change(host_memory_bytes=GIB)
    assert parse_limits("weight none") == Change(lift_weight=True)


def test_a_step_stays_within_what_there_is() -> None:
    assert changed(share(guarantee_ppm=1_000_000, ceiling_ppm=1_000_000), 1) == Change(compute_ppm=1_000_000)
    assert changed(share(guarantee_ppm=20_000, ceiling_ppm=20_000), -1) == Change(compute_ppm=50_000)
    borrows = share(ceiling_ppm=600_000)
    assert changed(borrows, 1) == Change(compute_ppm=350_000, ceiling_ppm=600_000)
    assert changed(share(guarantee_ppm=580_000, ceiling_ppm=600_000), 1) == Change(compute_ppm=630_000)
    assert changed(share(guarantee_ppm=None, weight=1), -1) == Change(weight=1)
    assert changed(share(guarantee_ppm=None, weight=1), 1) == Change(weight=2)


def test_what_a_terminal_sends_are_keys() -> None:
    assert split("q\x1b[A\x1b[Bx\x1b\r\x7f") == ["q", UP, DOWN, "x", ESCAPE, ENTER, BACKSPACE]
    assert split("\x1b[5~s\x1b[1;5Cp") == ["s", "p"]


# -------- the view


@pytest.mark.parametrize("size", [(80, 24), (120, 50), (40, 10), (10, 3), (200, 12)])
@pytest.mark.parametrize("devices", [0, 1, 3, 16])
@pytest.mark.parametrize("tenants", [0, 1, 60])
@pytest.mark.parametrize("unmanaged", [0, 1, 9])
def test_a_frame_is_as_large_as_the_terminal(
    size: tuple[int, int], devices: int, tenants: int, unmanaged: int
) -> None:
    shown = model(
        *(share(tenant=f"tenant-of-a-long-name-{i}", state="throttled") for i in range(tenants)),
        devices=devices,
        unmanaged=unmanaged,
    )
    width, height = size
    lines = frame(shown, width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert len(frame(Model(), width, height)) == height


def test_a_frame_of_80_by_24_has_everything() -> None:
    shown = model(share(), share(tenant="b", state="throttled"), devices=1)
    text = "\n".join(line.plain for line in frame(shown, 80, 24))
    print(text)
    for words in (
        "1 device, 2 tenants, 1 waiting", "GPU sim:0 NVIDIA H200  concurrent, 2 tenants",
        "1G of 140G, 8G promised",
        "59%, 30% asked", "▅" * 50, "1G/8G", "30%", "throttled", "64%", "q quit",
    ):  # fmt: skip
        assert words in text


def test_unmanaged_processes_are_seen_and_cannot_write_on_the_terminal() -> None:
    shown = model(share(), unmanaged=1)
    assert shown.top is not None
    shown.top.unmanaged[:] = [stranger(7, "x\x1b[2J y")]
    lines = [line.plain for line in frame(shown, 80, 24)]
    assert "1 unmanaged" in lines[0]
    assert lines[-2] == "unmanaged pid 7 eve, GPU sim:0, 1G: x?[2J y"
    more = [line.plain for line in frame(model(share(), unmanaged=9), 80, 24)]
    assert more[-2] == "… and 6 more unmanaged processes"


def test_who_waits_to_be_let_in_is_seen_with_the_reason() -> None:
    shown = model(share(), unmanaged=1)
    assert shown.top is not None
    shown.top.queue[:] = [
        Waiting(
            place=1, tenant="late", pid=7, user="eve", priority="normal", memory_bytes=GIB, memory_ppm=None,
            compute_ppm=None, gpus=[], placement="", since_ns=0, kept=[], why="no \x1broom", command="x",
        )
    ]  # fmt: skip
    lines = [line.plain for line in frame(shown, 80, 24)]
    assert "1 queued" in lines[0]
    assert lines[-3] == "queue 1. late eve, 0: no ?room"
    assert lines[-2].startswith("unmanaged pid 0 eve")


def test_the_selected_tenant_is_always_seen() -> None:
    shown = model(*(share(tenant=f"t{i:02}") for i in range(60)))
    for _ in range(45):
        shown.press("j")
    (line,) = [line for line in frame(shown, 80, 24) if line.plain.startswith("t45")]
    assert "reverse" in [str(span.style) for span in line.spans]


def test_bars_and_sparklines() -> None:
    assert bar(1, 2, 4).plain == "██░░"
    assert bar(1, 2, 4, mark=1).plain == "██│░"
    assert bar(9, 2, 4, mark=0).plain == "████"
    assert bar(0, 0, 4).plain == "░░░░"
    assert sparkline([0, 1, 500_000, 1_000_000, 2_000_000], 6) == "  ▁▄██"
    assert sparkline(list(range(10)), 3) == "▁▁▁"


def test_the_table_of_ps_fits_80_columns() -> None:
    rows = [HEADER, row(share(tenant="team-a")), row(share(index=None, windows=[], state="throttled"))]
    widths = [max(len(line[column]) for line in rows) for column in range(len(HEADER))]
    assert sum(widths) + 2 * (len(widths) - 1) <= 80


# -------- in a terminal


@pytest.fixture
def terminal(home: Home) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def run(*words: str, **more: str) -> Terminal:
        made.append(Terminal(home, *words, **more))
        return made[-1]

    yield run
    for each in made:
        each.close()


def start(home: Home) -> None:
    for name, options in (
        ("alpha", ["--compute", "30%"]),
        ("beta", ["--mem", "8G", "--compute", "50%..70%"]),
    ):
        program = home.start(
            "run", "--sim", "--tenant", name, *options, "--", "sh", "-c", "echo up; exec sleep 120"
        )
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"


def compute(home: Home) -> dict[str, int]:
    shares = json.loads(home.gshare("top", "--once", "--json").stdout)["tenants"]
    return {share["tenant"]: share["guarantee_ppm"] for share in shares}


def test_it_shows_and_changes_tenants_in_a_terminal(home: Home, terminal: Callable[..., Terminal]) -> None:
    start(home)
    top = terminal("top", "--interval", "0.3")
    text = top.wait_for(lambda text: "alpha" in text and "beta" in text and "q quit" in text)
    assert "GPU sim:0" in text
    assert "80%" in text, "asked of the device"
    top.press("s")
    top.wait_for(lambda text: "  by memory" in text)
    top.press("/bet\r")
    top.wait_for(lambda text: "alpha" not in text and "filter: bet" in text)
    top.press("p")
    top.wait_for(lambda text: "beta paused" in text and "paused" in text.splitlines()[-2] + text)
    top.press("p")
    top.wait_for(lambda text: "beta goes on" in text)
    top.press("-")
    top.wait_for(lambda text: "beta: compute 45%..70%" in text)
    assert compute(home) == {"alpha": 300_000, "beta": 450_000}
    top.press("emem 4G compute 40%\r")
    top.wait_for(lambda text: "beta: changed" in text and "0/4G" in text and " 40% " in text)
    assert compute(home) == {"alpha": 300_000, "beta": 400_000}
    top.press("\x1b")
    top.wait_for(lambda text: "alpha" in text)
    stranger = subprocess.Popen(
        [sys.executable, str(ALLOCATE)],
        env={**home.environment, **sim.environment(str(home.machine))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    top.wait_for(lambda text: "1 unmanaged" in text and f"unmanaged pid {stranger.pid} " in text)
    late = home.start("run", "--sim", "--wait", "--tenant", "late", "--compute", "90%", "--", "true")
    top.wait_for(lambda text: "1 queued" in text and "queue 1. late" in text)
    assert "to be let in, place 1" in home.gshare("why", "late").stdout
    late.kill()
    stranger.communicate()
    top.wait_for(lambda text: "unmanaged" not in text)
    top.press("q")
    assert top.end() == 0


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.soak) for n in (signal.SIGINT, signal.SIGHUP))],
)
def test_a_signal_leaves_the_terminal_as_it_was(
    home: Home, terminal: Callable[..., Terminal], number: signal.Signals
) -> None:
    top = terminal("top")
    top.wait_for(lambda text: "q quit" in text)
    top.child.send_signal(number)
    assert top.end() == 128 + number


def test_a_terminal_that_cannot_be_drawn_on_is_told_so(terminal: Callable[..., Terminal]) -> None:
    top = terminal("top", term="dumb")
    top.wait_for(lambda text: "gshare: top: TERM=dumb cannot be drawn on" in text)
    assert top.child.wait(30) == 2


def test_elsewhere_than_on_a_terminal_it_says_so_in_one_line(home: Home) -> None:
    result = home.gshare("top")
    hint = "--once prints one picture, --json a line for each look"
    assert (result.returncode, result.stderr) == (2, f"gshare: top: not on a terminal ({hint})\n")
    for interval, said in (("0", "0"), ("nan", "nan"), ("1e30", "1e+30")):
        result = home.gshare("top", "--interval", interval)
        line = f"gshare: --interval {said}: too often, or too seldom (0.1 to 3600)\n"
        assert (result.returncode, result.stderr) == (2, line)


def test_one_picture_and_a_stream_go_anywhere(home: Home) -> None:
    start(home)
    picture = home.gshare("top", "--once").stdout
    assert "alpha" in picture
    assert max(len(line) for line in picture.splitlines()) <= 80
    stream = home.start("top", "--json", "--interval", "0.2")
    assert stream.stdout is not None
    lines = [json.loads(stream.stdout.readline()) for _ in range(3)]
    assert {line["schema"] for line in lines} == {"gshare/top/v1"}
    assert lines[0]["now_ns"] < lines[2]["now_ns"]
    table = home.gshare("ps", "--compute").stdout.splitlines()
    assert table[0].split() == list(HEADER)
    assert table[1].split()[:3] == ["alpha", "sim:0", "30%"]
