"""`python tests/shim/door_table.py` prints docs/doors.md, from hooks.def, doors.toml and doors.def."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from probing import BOUNDED, DOORS, EXACT, FOLDER, NOT_CARRIED_OUT, ways_of

from gshare.shim.hooks import HOOKS
from gshare.shim.sim.functions import functions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHARGES = {EXACT: "exact", BOUNDED: "upper bound"}
EFFECTS = ("takes", "gives", "covered", "nothing")

# What a function that might take device memory is called: such a one needs a row of its own.
SUSPECT = re.compile(
    "Alloc|Create|Malloc|Import|Map|Bind|Instantiate|Upload|Load|Retain|SetLimit|Prefetch|Pool|BeginCapture"
    "|BeginRecapture|GraphAdd|Register|Reserve|Attach|Enable|Restore|Launch|Export|Open|Advise|Discard|Host|Grow"
)
MEMORY = {
    "ALLOC", "FREE", "POOL", "VMM", "ARRAY", "GRAPHMEM", "IMPORT", "MULTICAST", "HOSTMEM", "CONTEXT",
    "MODULE",
}  # fmt: skip
"""Classes of hooks.def whose functions all need one."""


class Row(NamedTuple):
    """What doors.toml says of one function."""

    effect: str
    what: str
    by: tuple[str, ...]


def _rows() -> tuple[dict[str, Row], dict[str, str]]:
    read = tomllib.loads((FOLDER / "doors.toml").read_text())
    rows: dict[str, Row] = {}
    for door in read["door"]:
        (effect,) = [key for key in EFFECTS if key in door]
        for name in door["names"]:
            if name in rows:
                raise ValueError(f"doors.toml names {name} twice")
            rows[name] = Row(effect, door[effect], tuple(door.get("by", [name])))
    return rows, read["classes"]


ROWS, CLASSES = _rows()


def needs_row(name: str, hook_class: str) -> bool:
    return hook_class in MEMORY or bool(SUSPECT.search(name))


def probes_of(name: str) -> dict[str, str]:
    """The probes that go through this door, with their charge, and those that come back this way."""
    through = {door.variant or "plain": CHARGES.get(door.charge, "-") for door in DOORS if door.name == name}
    if not through and any(way.name == name for door in DOORS for way in ways_of(door)):
        return {"way back": "-"}
    return through


def _line(name: str, hook_class: str, carried_out: bool) -> str:
    row = ROWS[name]
    held = ""
    if row.effect in {"takes", "gives"}:
        held = "its hook" if row.by == (name,) else ", ".join(f"`{by}`" for by in row.by)
    probes = probes_of(name)
    shown = ", ".join(probes)
    if probes and (name in NOT_CARRIED_OUT or not carried_out):
        shown += " (not carried out by the simulated GPU)"
    charges = sorted(set(probes.values()) - {"-"})
    cells = [f"`{name}`", hook_class, row.effect, row.what, held, " or ".join(charges), shown]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Return the page."""
    hooks = [hook for hook in HOOKS if hook.library == "CUDA"]
    carried_out = functions()
    lines = [
        "# The doors to device memory",
        "",
        "Every function of `cuda.h`, from CUDA 11.8 to 13.5, that takes device memory, gives it back, or "
        "might be thought to: what it does, and what holds it to the quota. This page is what "
        "`python tests/shim/door_table.py` prints, from `shim/src/hooks.def`, `tests/probes/doors.toml` and "
        "`tests/probes/doors.def`; the tests hold it against the headers of four releases.",
        "",
        "- *takes*: device memory comes with the call, and is charged before; one byte over the quota is "
        "`CUDA_ERROR_OUT_OF_MEMORY`. *gives*: it goes. *covered*: it was charged before. *nothing*: none "
        "comes.",
        "- The charge is *exact* where it is what the simulated device loses, to the byte, and an *upper "
        "bound* where no driver tells so much.",
        "- The probes are the cases of `tests/probes`. Each is tried without gshare, at the last byte of a "
        "quota and one before it, on three roads (linked, `dlsym`, `cuGetProcAddress`), and what it took is "
        "given back in every legal way.",
        "",
        "| function | class | device memory | what | held by | charge | probes |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        _line(hook.name, hook.hook_class, carried_out.get(hook.name, False))
        for hook in sorted(hooks, key=lambda hook: hook.name)
        if hook.name in ROWS
    ]
    lines += ["", "All other functions take none: they", ""]
    for hook_class, why in CLASSES.items():
        names = sorted(h.name for h in hooks if h.hook_class == hook_class and h.name not in ROWS)
        lines.append(f"- {why} ({hook_class}): {', '.join(f'`{name}`' for name in names)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
