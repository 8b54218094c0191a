"""Instructions by shared object, counted by valgrind's callgrind."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from gshare.benchmarks import loops


def available() -> bool:
    return shutil.which("valgrind") is not None


def prefix(output: Path) -> list[str]:
    """What to put before a program so that the counted loops' instructions end up in `output`."""
    return [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        f"--callgrind-out-file={output}",
        f"--toggle-collect={loops.COUNTED}",
    ]


def instructions_by_object(lines: Iterable[str]) -> Counter[str]:
    """Sum a callgrind profile's own costs by the object's file name, as in {"libgshare.so": 1234}.

    A profile is a list of blocks: `ob=` names the object from here on (`ob=(3) /path/lib.so` the first time,
    `ob=(3)` later), a line that starts with a position carries a cost, and the line after `calls=` repeats
    the cost of the called function, which is counted where that function is.
    """
    names: dict[str, str] = {}
    sums: Counter[str] = Counter()
    current, inclusive = "", False
    for line in lines:
        key, separator, value = line.partition("=")
        if separator and key in ("ob", "cob"):
            number, _, path = value.strip().partition(" ")
            if path:
                names[number] = Path(path).name
            if key == "ob":
                current = names.get(number, number)
        elif separator and key == "calls":
            inclusive = True
        elif line[:1] in "0123456789+-*" and line.strip():
            if not inclusive:
                sums[current] += int(line.split()[1])
            inclusive = False
    return sums
