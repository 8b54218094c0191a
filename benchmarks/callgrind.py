"""Instructions by shared object and function, counted by valgrind's callgrind."""

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


def instructions(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """Sum a callgrind profile's own costs by object and function: {("libgshare.so", "cuLaunchKernel"): 1234}.

    A profile is a list of blocks: `ob=` and `fn=` name object and function from here on, `ob=(3)
    /path/lib.so` the first time and `ob=(3)` later. A line that starts with a position carries a cost.
    After `calls=` comes the cost of the called function, which is counted where that function is.
    """
    names: dict[tuple[str, str], str] = {}
    sums: Counter[tuple[str, str]] = Counter()
    current = {"ob": "", "fn": ""}
    inclusive = False
    for line in lines:
        key, separator, value = line.partition("=")
        if separator and key in ("ob", "cob", "fn", "cfn"):
            number, _, name = value.strip().partition(" ")
            kind = key[-2:]
            if name:
                names[kind, number] = Path(name).name if kind == "ob" else name
            if key == kind:
                current[kind] = names.get((kind, number), number)
        elif separator and key == "calls":
            inclusive = True
        elif line[:1] in "0123456789+-*" and line.strip():
            if not inclusive:
                sums[current["ob"], current["fn"]] += int(line.split()[1])
            inclusive = False
    return sums


def by_object(sums: Counter[tuple[str, str]]) -> Counter[str]:
    """The same by object alone."""
    total: Counter[str] = Counter()
    for (name, _), count in sums.items():
        total[name] += count
    return total
