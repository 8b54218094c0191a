"""Which trial is run under which arm when: in blocks, in random order; and what of it is done already."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gshare.benchmarks.suite.record import Run
from gshare.controller.files import write_text


class Step(NamedTuple):
    block: int
    trial: str
    arm: str


def steps(trials: Sequence[tuple[str, bool]], arms: Sequence[str], blocks: int, seed: int) -> Iterator[Step]:
    """Blocks one after another; in each all trials, and of each all arms one after another, in random order.

    A trial is a name, and whether it is in the first block only.  That block, in which time may be over, is
    done group by group, in the order of the trials.
    """
    chance = random.Random(seed)
    groups = list(dict.fromkeys(name.partition(".")[0] for name, _ in trials))
    for block in range(blocks):
        names = [name for name, once in trials if block == 0 or not once]
        chance.shuffle(names)
        if block == 0:
            names.sort(key=lambda name: groups.index(name.partition(".")[0]))
        for name in names:
            order = list(arms)
            chance.shuffle(order)
            yield from (Step(block, name, arm) for arm in order)


class Journal:
    """What was done of a plan, one line of JSON a run, so that a run that was stopped goes on.

    Only ever added to: who is killed, or finds the disk full, loses the line that was being written.
    """

    def __init__(self, path: Path, plan: dict[str, Any]) -> None:
        self.path = path
        self.runs: list[Run] = []
        first = json.dumps(plan) + "\n"
        if size := self._read(first.encode()):
            os.truncate(path, size)
        else:
            write_text(path, first)

    def _read(self, first: bytes) -> int:
        """How many bytes are whole lines of this plan."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError:
            return 0
        if lines[:1] != [first]:
            return 0
        size = len(first)
        for line in lines[1:]:
            if not line.endswith(b"\n"):
                break
            try:
                self.runs.append(msgspec.json.decode(line, type=Run))
            except msgspec.DecodeError:
                break
            size += len(line)
        return size

    @property
    def done(self) -> set[Step]:
        return {Step(run.block, f"{run.group}.{run.trial}", run.arm) for run in self.runs}

    def add(self, run: Run) -> None:
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")
        self.runs.append(run)
