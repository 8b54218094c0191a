"""Which trial is run under which arm when: in blocks, in random order; and what of it is done already."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gshare.benchmarks.suite.record import Run


class Step(NamedTuple):
    block: int
    trial: str
    arm: str


def steps(trials: Sequence[tuple[str, bool]], arms: Sequence[str], blocks: int, seed: int) -> Iterator[Step]:
    """Blocks one after another; in each all trials, and of each all arms one after another, in random order.

    A trial is a name, and whether it is in the first block only.
    """
    chance = random.Random(seed)
    for block in range(blocks):
        names = [name for name, once in trials if block == 0 or not once]
        chance.shuffle(names)
        for name in names:
            order = list(arms)
            chance.shuffle(order)
            yield from (Step(block, name, arm) for arm in order)


class Journal:
    """What was done of a plan, one line of JSON a run, so that a run that was stopped goes on."""

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path = path
        self.runs: list[Run] = []
        self._read(plan)
        lines = [json.dumps(plan).encode(), *map(msgspec.json.encode, self.runs)]
        path.write_bytes(b"".join(line + b"\n" for line in lines))

    def _read(self, plan: dict[str, Any]) -> None:
        try:
            first, *rest = self.path.read_text().splitlines()
            if json.loads(first) != plan:
                return
            for line in rest:
                self.runs.append(msgspec.json.decode(line, type=Run))
        except (OSError, ValueError):
            return  # the last line was being written

    @property
    def done(self) -> set[Step]:
        return {Step(run.block, f"{run.group}.{run.trial}", run.arm) for run in self.runs}

    def add(self, run: Run) -> None:
        self.runs.append(run)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")

    def finish(self) -> None:
        self.path.unlink(missing_ok=True)
