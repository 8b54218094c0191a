"""`pytest tests/cli/pictures.py` with GSHARE_PICTURES=docs makes the pictures of top and of the web page.

Five programs share two simulated GPUs for a minute and a half, and a sixth waits to be let in: what is drawn
is what these really got.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from gshare.shim import sim

from .conftest import Home
from .terminal import Terminal
from .test_web import BROWSER, opened

TARGET = os.environ.get("GSHARE_PICTURES", "")
MINUTE_S = 70
SCENE = {
    "training": ("0", ["--mem", "64G", "--compute", "40%..80%"], 16384, ["--kernel-us", "20000"]),
    "serving": (
        "0",
        ["--mem", "32G", "--compute", "30%"],
        8192,
        ["--kernel-us", "8000", "--sync-every", "1", "--in-flight-ms", "8", "--gap-us", "30000"],
    ),
    "batch": ("0", ["--mem", "16G", "--weight", "2", "--priority", "low"], 20480, ["--kernel-us", "10000"]),
    "notebook": ("1", ["--mem", "8G", "--compute", "20%"], 3072, ["--kernel-us", "5000"]),
}
STRANGER = """
import sys
from gshare.benchmarks.workload import main
sys.argv[1:] = "--device 1 --alloc-mib 6144 --piece-mib 1024 --seconds 300 --kernel-us 500".split()
sys.argv += ["--gap-us", "200000", "--sync-every", "1", "--in-flight-ms", "1"]
main()
"""
WORKLOAD = [sys.executable, "-m", "gshare.benchmarks.workload"]


def scene(home: Home) -> None:
    home.gshare("sim", "start", "h200*2")
    for name, (device, limits, mib, kernels) in SCENE.items():
        words = [*WORKLOAD, "--alloc-mib", str(mib), "--piece-mib", "512", "--seconds", "300", *kernels]
        program = home.start("run", "--sim", "--tenant", name, "--gpu", device, *limits, "--", *words)
        assert program.stdout
        program.stdout.readline()
    home.start(
        "run", "--sim", "--wait", "--tenant", "nightly", "--gpu", "0", "--compute", "60%", "--", "true"
    )
    (home.folder / "train.py").write_text(STRANGER)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home.children.append(
        subprocess.Popen(
            ["python", "train.py"],
            executable=sys.executable,
            cwd=home.folder,
            env={**home.environment, **sim.environment(str(home.machine)), "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


def drawn(terminal: Terminal) -> str:
    """The screen, as an image that needs nothing but a font."""
    console = Console(record=True, width=terminal.screen.columns, file=open(os.devnull, "w"))  # noqa: SIM115
    for row in range(terminal.screen.lines):
        line = Text()
        for column in range(terminal.screen.columns):
            cell = terminal.screen.buffer[row][column]
            color = "" if cell.fg == "default" else {"brown": "yellow"}.get(cell.fg, cell.fg)
            style = [color, "bold" * cell.bold, "reverse" * cell.reverse, "underline" * cell.underscore]
            line.append(cell.data, " ".join(filter(None, style)))
        console.print(line, soft_wrap=True)
    return console.export_svg(title="gshare top")


@pytest.mark.timeout(300)
@pytest.mark.skipif(not TARGET, reason="GSHARE_PICTURES names the folder for them")
def test_pictures(home: Home, tmp_path: Path) -> None:
    target = Path(TARGET).resolve()
    scene(home)
    terminal = Terminal(home, "top")
    terminal.wait_for(lambda text: "unmanaged pid" in text and "notebook" in text and "queue 1." in text)
    until = time.monotonic() + MINUTE_S
    while time.monotonic() < until:
        terminal.read(0.2)
    (target / "top.svg").write_text(drawn(terminal), encoding="utf-8")
    print(terminal.text)
    terminal.press("q")
    assert terminal.end() == 0
    terminal.close()
    assert BROWSER, "needs chromium"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--hide-scrollbars", "--window-size=1280,890", "--virtual-time-budget=4000"]
    command += [f"--screenshot={target / 'web.png'}", opened(home)]
    subprocess.run(command, env={**home.environment, "HOME": str(tmp_path)}, check=True, timeout=90)
