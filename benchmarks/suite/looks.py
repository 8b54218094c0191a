"""How arms look in pictures: a colour, a mark and a line each, to be told apart without colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gshare.benchmarks.suite.groups.coverage import ABSENT, DOCUMENTED, ENFORCED, OPEN

NO_LIMITS = "no limits"


class Look(NamedTuple):
    mark: str
    line: str | tuple[int, tuple[int, ...]]
    light: str
    dark: str
    name: str = ""
    """What it is called, if not as the arm is."""


WITHOUT = Look("x", ":", "#6e7781", "#8b949e", NO_LIMITS)
LOOKS = {
    "native": WITHOUT,
    "timeslice": WITHOUT,
    "gshare": Look("o", "-", "#0969da", "#58a6ff"),
    "mps": Look("P", "--", "#8250df", "#bc8cff"),
    "hami": Look("s", "--", "#bc4c00", "#f0883e"),
    "vgpu-manager": Look("^", "-.", "#bf3989", "#f778ba"),
    "nvshare": Look("D", (0, (5, 1, 1, 1, 1, 1)), "#1b7c83", "#39c5cf"),
    "xsched": Look("v", (0, (8, 2)), "#7d4e00", "#d29922"),
}


def called(arm: str) -> str:
    return LOOKS[arm].name or arm


class Theme(NamedTuple):
    name: str
    ground: str
    ink: str
    faint: str
    verdicts: Mapping[str, tuple[str, str]]
    """Of a verdict: the colour, and that of what is written on it."""

    def color(self, arm: str) -> str:
        return LOOKS[arm].dark if self.name == "dark" else LOOKS[arm].light


THEMES = (
    Theme(
        "light",
        "#ffffff",
        "#1f2328",
        "#d0d7de",
        {
            ENFORCED: ("#1a7f37", "#ffffff"),
            OPEN: ("#cf222e", "#ffffff"),
            DOCUMENTED: ("#eac54f", "#1f2328"),
            ABSENT: ("#eaeef2", "#57606a"),
        },
    ),
    Theme(
        "dark",
        "#0d1117",
        "#e6edf3",
        "#30363d",
        {
            ENFORCED: ("#238636", "#ffffff"),
            OPEN: ("#da3633", "#ffffff"),
            DOCUMENTED: ("#d29922", "#0d1117"),
            ABSENT: ("#21262d", "#8b949e"),
        },
    ),
)
