"""Rows beside their budgets: instructions and nanoseconds that gshare adds to a call, and whether it may."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gshare.benchmarks import callgrind
from gshare.benchmarks.arms import Arm, Instructions
from gshare.benchmarks.results import Row

SHIM, DRIVER = "libgshare.so", "libcuda.so"
SMOKE_HEADROOM = 10.0


@dataclass(frozen=True)
class Budget:
    what: str
    limit: float
    unit: str

    @property
    def by_the_clock(self) -> bool:
        """Whether a busy machine can spoil it: smoke runs then fail only far over the limit."""
        return self.unit not in ("instructions", "times the instructions")


@dataclass(frozen=True)
class Budgets:
    """What one benchmark promises, by the names of its rows."""

    promised: Mapping[str, Budget]

    def row(
        self,
        name: str,
        value: float | None,
        smoke: bool,
        note: str = "",
        details: dict[str, Any] | None = None,
    ) -> Row:
        """A measured value beside its budget; None: not measured."""
        budget = self.promised[name]
        headroom = SMOKE_HEADROOM if smoke and budget.by_the_clock else 1.0
        within = None if value is None else value <= budget.limit * headroom
        rounded = None if value is None else round(value, 3)
        return Row(name, budget.what, rounded, budget.unit, budget.limit, within, note, details or {})

    def instructions(self, name: str, bare: Arm, hooked: Arm, case: Sequence[str], smoke: bool) -> Row:
        """Instructions of libgshare a call; beside it what the driver itself did, with and without."""
        if not callgrind.available():
            return self.row(name, None, smoke, note="not measured: valgrind is not installed")
        counts = hooked.instructions(*case)
        ours = {function: count for (library, function), count in counts.items() if library == SHIM}
        most = sorted(ours, key=ours.__getitem__, reverse=True)[:16]
        details: dict[str, Any] = {
            "by": "callgrind",
            "driver": of(counts, DRIVER),
            "functions": {function: round(ours[function], 1) for function in most},
        }
        if not smoke:
            details["driver_bare"] = of(bare.instructions(*case), DRIVER)
        return self.row(name, of(counts, SHIM), smoke, details=details)

    def nanoseconds(self, name: str, bare: Arm, hooked: Arm, case: Sequence[str], rounds: int) -> Row:
        """Nanoseconds added to one call, bare and hooked in turn; reported, without a budget."""
        pairs = [(bare.ns(*case), hooked.ns(*case)) for _ in range(rounds)]
        details = {
            "bare_ns": [round(a, 1) for a, _ in pairs],
            "gshare_ns": [round(b, 1) for _, b in pairs],
            "ratio": statistics.median(b / a for a, b in pairs),
        }
        what = (
            self.promised[name].what.replace(", over the bare calls", "").replace(", over the bare call", "")
        )
        value = round(statistics.median(b - a for a, b in pairs), 1)
        return Row(f"{name}_ns", f"{what}, added", value, "ns", details=details)


def of(counts: Instructions, library: str) -> float:
    """What of the instructions is the library's."""
    return round(sum(count for (name, _), count in counts.items() if name.startswith(library)), 1)
