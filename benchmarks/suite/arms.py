"""The arms of a comparison: what a program's environment is so that it has limits, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gshare.benchmarks.suite.rivals import MPS, RIVALS, Ask, Rival
from gshare.controller.errors import UsageError
from gshare.controller.protocol import Limits
from gshare.controller.units import FULL_PPM

MEMORY, COMPUTE, WEIGHT, PRIORITY, CHANGE, TENANTS, TURNS = (
    "memory",
    "compute",
    "weight",
    "priority",
    "change",
    "tenants",
    "turns",
)
"""A quota, a cap, parts by weight, priorities, limits that change, several processes of a tenant; one program
after another has the device, asked for or not."""
ALL = frozenset({MEMORY, COMPUTE, WEIGHT, PRIORITY, CHANGE, TENANTS})


@dataclass(frozen=True)
class Arm:
    name: str
    offers: frozenset[str] = frozenset()
    rival: Rival | None = None
    library: Path = Path()
    missing: str = ""
    """Why it cannot run here at all."""

    @property
    def is_gshare(self) -> bool:
        return self.name == "gshare"

    @property
    def is_control(self) -> bool:
        """Whether it has no limits, so that whatever measures isolation must fail."""
        return self.name in ("native", "timeslice")

    def environment(self, ask: Ask, folder: Path, uuid: str) -> Mapping[str, str]:
        """What a tenant's program is started with, gshare's apart."""
        return self.rival.environ(self.library, ask, folder, uuid) if self.rival else {}


def limits(ask: Ask) -> Limits:
    """The same as gshare has it."""
    ppm = round(ask.percent / 100 * FULL_PPM) if ask.percent else None
    return Limits(compute_ppm=ppm, weight=ask.weight, priority=ask.priority)


def options(ask: Ask) -> list[str]:
    """The same as options of `gshare run`."""
    found = {
        "--mem": ask.memory_bytes,
        "--compute": ask.percent and f"{ask.percent:g}%",
        "--weight": ask.weight,
        "--priority": ask.priority,
    }
    return [f"{name}={value}" for name, value in found.items() if value]


NATIVE = Arm("native")
BUILT_IN = {
    "native": NATIVE,
    "gshare": Arm("gshare", ALL),
    "timeslice": Arm("timeslice"),
    "mps": Arm("mps", MPS.offers, MPS),
}


def arms(names: list[str], rivals: list[str], simulated: bool) -> list[Arm]:
    """The arms by their names; rivals are NAME=PATH.

    Raises UsageError for an unknown one, and for a library that there is not.
    """
    found = []
    for name in dict.fromkeys(names):
        if name not in BUILT_IN:
            raise UsageError("bench", f"there is no arm {name}", ", ".join(BUILT_IN))
        found.append(_mps(simulated) if name == MPS.name else BUILT_IN[name])
    for text in rivals:
        name, equals, path = text.partition("=")
        if name not in RIVALS or not equals:
            raise UsageError("bench", f"--rival {text}", "NAME=PATH of " + ", ".join(RIVALS))
        library, rival = Path(path).resolve(), RIVALS[name]
        if not library.is_file():
            raise UsageError("bench", f"--rival {text}", f"{path} is no file")
        if any(arm.name == name for arm in found):
            raise UsageError("bench", f"--rival {text}", "one of each kind")
        found.append(Arm(name, rival.offers, rival, library, rival.missing(library)))
    return found


def _mps(simulated: bool) -> Arm:
    daemon = shutil.which(MPS.daemon[0])
    missing = "" if daemon else f"{MPS.daemon[0]} is not installed"
    if simulated:
        missing = "not applicable: its limits are its daemon's, which needs a GPU"
    return Arm(MPS.name, MPS.offers, MPS, Path(daemon or ""), missing)


def plain_environment() -> dict[str, str]:
    """This process's, without what would put a program under limits already."""
    ours = ("GSHARE_", "SIMGPU_", "LD_PRELOAD", "CUDA_MPS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
