"""A run of the suite: controls first, then every trial under every arm, in random order."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gshare.benchmarks.suite import record
from gshare.benchmarks.suite.arms import NATIVE, Arm
from gshare.benchmarks.suite.controls import Control, acts, control, lacking
from gshare.benchmarks.suite.ground import NO_LIMITS, Ground
from gshare.benchmarks.suite.metrics import Probe, Trial
from gshare.benchmarks.suite.plan import Journal, Step, steps
from gshare.benchmarks.suite.record import Run, trial_key
from gshare.benchmarks.suite.within import OVER, within
from gshare.controller.errors import GshareError, UsageError

GROUPS = (
    "overhead",
    "memory",
    "shares",
    "fairness",
    "priority",
    "adaptation",
    "makespan",
    "copies",
    "scale",
    "resilience",
    "coverage",
    "models",
)
PARTIAL = "partial.jsonl"
"""What is done so far, in the folder of the result."""
SEED = 1
TRIAL_S = 120.0
MOST_TIMES = 4
"""Or so many times what a trial usually takes."""
HANGS = 2
"""So many trials of an arm that did not end, and no more are tried."""
FAILED = "failed: "
LATE = "no number: the time was over (--minutes)"


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for."""

    groups: Sequence[str]
    arms: Sequence[Arm]
    blocks: int
    quick: bool
    folder: Path
    most_s: float = inf
    """No block is begun that would not be done by then, but for the first, which ends where it is."""

    def plan(self, ground: Ground) -> dict[str, Any]:
        """What must be the same for a run to go on from where another was stopped."""
        libraries = {
            arm.name: record.digest(arm.library) for arm in self.arms if arm.rival and not arm.missing
        }
        return {
            "groups": list(self.groups),
            "arms": [arm.name for arm in self.arms],
            "blocks": self.blocks,
            "quick": self.quick,
            "device": ground.device.uuid if not ground.simulated else "",
            "revision": record.revision(),
            "libraries": libraries,
        }


def trials(groups: Sequence[str]) -> list[Trial]:
    """Those of the groups, in their order.

    Raises UsageError for a group that there is not.
    """
    found: list[Trial] = []
    for group in groups:
        if group not in GROUPS:
            raise UsageError("bench", f"there is no group {group}", ", ".join(GROUPS))
        found += importlib.import_module(f"gshare.benchmarks.suite.groups.{group}").TRIALS
    return found


def run(ground: Ground, wanted: Wanted, talk: Console) -> record.Result:
    """All of it; Ctrl-C leaves the journal, from which the same command goes on."""
    begin, load = time.monotonic(), os.getloadavg()
    gpu = {"before": {} if ground.simulated else record.clocks(ground.device.uuid)}
    chosen = trials(wanted.groups)
    journal = Journal(wanted.folder / PARTIAL, wanted.plan(ground))
    if journal.runs:
        talk.print(f"Going on from {len(journal.runs)} runs that are done.")
    arms = list(wanted.arms)
    talk.print("Do the limits of each arm act?")
    controls = []
    for arm in arms:
        for found in () if arm.missing else control(ground, arm, _probes(ground, chosen, arm)):
            controls.append(found)
            said = "yes" if found.in_effect else found.why
            talk.print(f"  {found.arm}, {found.what}: {said}", highlight=False)
    skipped = _skipped(ground, chosen, arms, controls)
    by_name = {trial_key(trial): trial for trial in chosen}
    wanted_steps = steps(
        [(trial_key(trial), trial.once) for trial in chosen], [arm.name for arm in arms], wanted.blocks, SEED
    )
    to_do = [step for step in wanted_steps if (step.trial, step.arm) not in skipped]
    left = [step for step in to_do if step not in journal.done]
    all_s, left_s = (sum(by_name[step.trial].seconds for step in some) for some in (to_do, left))
    with _progress(talk, all_s, all_s - left_s) as show:
        clock = _Blocks(begin, wanted.most_s)
        for step in left:
            if not clock.goes_on(step.block, time.monotonic()):
                talk.print(f"Enough: {step.block} of {wanted.blocks} blocks are done (--minutes).")
                rest = left[left.index(step) :]
                skipped |= {(one.trial, one.arm): LATE for one in rest if one.block == 0}
                break
            trial, arm = by_name[step.trial], next(arm for arm in arms if arm.name == step.arm)
            show(f"{step.trial}, {step.arm}", 0)
            if sum(run.arm == arm.name and OVER in run.failed for run in journal.runs) < HANGS:
                journal.add(_one(ground, trial, arm, step))
            else:
                why = f"{FAILED}given up after {HANGS} trials that did not end"
                journal.add(Run(trial.name, trial.group, arm.name, step.block, 0, failed=why))
            show("", trial.seconds)
    gpu["after"] = {} if ground.simulated else record.clocks(ground.device.uuid)
    about = ground.ask(NATIVE, NO_LIMITS, "device")
    return record.result(
        simulated=ground.simulated,
        device=about["device"],
        driver=f"{about['driver'] // 1000}.{about['driver'] % 1000 // 10}",
        date=record.now(),
        revision=record.revision(),
        seconds=round(time.monotonic() - begin, 1),
        machine=record.machine(load, gpu),
        options=record.Options(
            groups=list(wanted.groups),
            arms=[arm.name for arm in arms],
            blocks=len({run.block for run in journal.runs}),
            quick=wanted.quick,
            virtual_clock=ground.place.virtual,
            rivals=wanted.plan(ground)["libraries"],
        ),
        controls=controls,
        metrics=record.metric_results(chosen, arms, journal.runs, skipped),
        runs=journal.runs,
    )


def _probes(ground: Ground, chosen: Sequence[Trial], arm: Arm) -> list[Probe]:
    """Of the trials that the arm would run, each once."""
    found = [trial.probe for trial in chosen if not trial.skipped(arm) and not trial.unfit(ground)]
    return list(dict.fromkeys(probe for probe in found if probe))


def _skipped(
    ground: Ground, chosen: Sequence[Trial], arms: Sequence[Arm], controls: Sequence[Control]
) -> dict[tuple[str, str], str]:
    """Why an arm does not run a trial, by the two."""
    found = {}
    for arm in arms:
        shown = [control for control in controls if control.arm == arm.name]
        for trial in chosen:
            why = arm.missing or trial.skipped(arm) or trial.unfit(ground)
            why = why or lacking(shown, trial.shown_by(arm)) or acts(shown)
            if why:
                found[trial_key(trial), arm.name] = why
    return found


def _one(ground: Ground, trial: Trial, arm: Arm, step: Step) -> Run:
    """What goes wrong under one arm is said, and ends nothing else."""
    begin = time.monotonic()
    done = Run(trial.name, trial.group, arm.name, step.block, 0)
    try:
        with within(max(TRIAL_S, MOST_TIMES * trial.seconds)):
            found = trial.run(ground, arm, step.block)
        done.values, done.details = dict(found.values), dict(found.details)
    except Exception as error:  # a binding, a library, a driver: of any kind
        done.failed = f"{FAILED}{words(error)}"
    done.seconds = round(time.monotonic() - begin, 3)
    return done


def words(error: Exception) -> str:
    """A failure's; with its class where that is what says something."""
    told = isinstance(error, (GshareError, OSError, RuntimeError))
    return str(error) if told else f"{type(error).__name__}: {error}"


class _Blocks:
    """Whether there is time for another block, if it takes as long as the one before; or for all of one."""

    def __init__(self, begin_s: float, most_s: float) -> None:
        self.until_s = begin_s + most_s
        self.block: int | None = None
        self.begun_s = 0.0
        self.is_first = True

    def goes_on(self, block: int, now_s: float) -> bool:
        if block == self.block:
            return not self.is_first or now_s <= self.until_s
        took_s = now_s - self.begun_s
        self.is_first, self.block, self.begun_s = self.block is None, block, now_s
        return self.is_first or now_s + took_s <= self.until_s


@contextmanager
def _progress(talk: Console, all_s: float, done_s: float) -> Iterator[Callable[[str, float], None]]:
    """What is called with what is done now, and about how long what is done took."""
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=talk, transient=True, disable=not talk.is_terminal) as progress:
        task = progress.add_task("", total=all_s, completed=round(done_s))
        yield lambda what, seconds: progress.update(task, description=what, advance=seconds)
