"""Run parts one after another, each within its time limit; one that goes wrong does not stop the next.

A part is a command.  It has passed if it ends with 0; with 77 it says that it cannot be run here, and its
last line on standard error says why.  Needs nothing but Python itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SKIP = 77
GRACE_S = 5.0
"""So long a part may take to end once it is told to."""
PACED_S = 60.0
"""What a part that is paced may take beyond its minutes: it ends what it has begun."""
LEAST_S = 5.0
"""A part is not begun with less than this left for all."""

PASSED, FAILED, LATE, SKIPPED = "passed", "failed", "time limit", "skipped"
NO_TIME, NOT_TRIED, INTERRUPTED = "no time left", "not tried", "interrupted"
GOOD = (PASSED, SKIPPED)
OVER = "over"
"""A row that misses its target."""


@dataclass(frozen=True)
class Part:
    """One command; its standard output goes to the file `stdout`, its standard error to the log."""

    name: str
    what: str
    limit_s: float
    command: Sequence[str]
    stdout: str = ""
    """Empty: the log."""
    results: str = ""
    """A file of gshare/bench/v1 that it writes: its rows are in the table at the end."""
    skip: str = ""
    """Why it is not even tried."""
    after: Sequence[str] = ()
    """Parts without which it makes no sense."""
    paced: bool = False
    """It takes the minutes that it is given: all that there are but for the last, as `--minutes=N`."""
    forgiven: Sequence[int] = ()
    """Codes that are as good as 0: in a rehearsal the time on a simulated GPU is not exact."""


@dataclass
class Outcome:
    name: str
    what: str
    end: str
    seconds: float = 0.0
    code: int | None = None
    reason: str = ""
    limit_s: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    """Of its results: how many are within, over, not measured, and measured without a target."""
    notes: list[str] = field(default_factory=list)


class Runner:
    """Runs parts into the folder `out`, for at most `within_s` seconds in all."""

    def __init__(self, out: Path, log: Path, within_s: float | None = None) -> None:
        self.out = out
        self.log = log
        self.ends_at = None if within_s is None else time.monotonic() + within_s
        self.outcomes: list[Outcome] = []

    def run(self, parts: Sequence[Part], say: Callable[[str], object] = print) -> bool:
        """All of them, in order; whether all is well."""
        for part in parts:
            try:
                outcome = self._one(part)
            except KeyboardInterrupt:
                self.outcomes.append(Outcome(part.name, part.what, INTERRUPTED, limit_s=part.limit_s))
                raise
            self.outcomes.append(outcome)
            say(line(outcome))
        return all(outcome.end in GOOD for outcome in self.outcomes)

    def _one(self, part: Part) -> Outcome:
        outcome = Outcome(part.name, part.what, SKIPPED, reason=part.skip, limit_s=part.limit_s)
        if part.skip:
            return outcome
        ends = {done.name: done.end for done in self.outcomes}
        missing = [name for name in part.after if ends.get(name) != PASSED]
        if missing:
            outcome.end, outcome.reason = NOT_TRIED, f"needs {', '.join(missing)}"
            return outcome
        limit_s = part.limit_s
        if self.ends_at is not None:
            limit_s = min(limit_s, self.ends_at - time.monotonic() - GRACE_S)
            if limit_s < LEAST_S:
                outcome.end = NO_TIME
                return outcome
        begin = time.monotonic()
        log_bytes = self._write_log(f"\n==== {part.name}: {part.what}\n")
        if part.paced:
            minutes = max(limit_s - PACED_S, LEAST_S) / 60
            part = replace(part, command=[*part.command, f"--minutes={minutes:.2f}"])
        outcome.code, outcome.end = self._carry_out(part, limit_s)
        outcome.seconds = round(time.monotonic() - begin, 1)
        if outcome.end == FAILED and outcome.code in part.forgiven:
            outcome.end, outcome.reason = PASSED, f"ended with {outcome.code}, which is forgiven here"
        elif outcome.end != PASSED:
            outcome.reason = self._last_line(log_bytes) or f"ended with {outcome.code}"
        if part.results:
            outcome.rows, outcome.notes = rows_of(self.out / part.results)
            if outcome.end == FAILED and outcome.rows.get(OVER):
                outcome.reason = ""  # the rows say more than the last line of a table
        return outcome

    def _carry_out(self, part: Part, limit_s: float) -> tuple[int | None, str]:
        with (
            self.log.open("ab") as log,
            (self.out / part.stdout if part.stdout else self.log).open("ab") as out,
        ):
            try:
                process = subprocess.Popen(
                    part.command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                return None, FAILED
            late = False
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                end_group(process)
        if late:
            return process.returncode, LATE
        return process.returncode, {0: PASSED, SKIP: SKIPPED}.get(process.returncode, FAILED)

    def _write_log(self, text: str) -> int:
        with self.log.open("ab") as log:
            log.write(text.encode())
            return log.tell()

    def _last_line(self, since: int) -> str:
        with self.log.open("rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else ""

    def summary(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "schema": "gshare/hardware/v1",
            **machine,
            "passed": all(outcome.end in GOOD for outcome in self.outcomes),
            "parts": [asdict(outcome) for outcome in self.outcomes],
        }


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a part and all that it started and that is still in its group: asked first, then killed."""
    for number in signal.SIGTERM, signal.SIGKILL:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def rows_of(path: Path) -> tuple[dict[str, int], list[str]]:
    """How the rows of a result ended, and what is to be said of those over or not measured."""
    counts: dict[str, int] = {}
    notes: list[str] = []
    try:
        rows = json.loads(path.read_text())["rows"]
    except (OSError, ValueError, KeyError):
        return counts, notes
    for row in rows:
        if row["within"] is not None:
            end = "within" if row["within"] else OVER
        else:
            end = "measured" if row["value"] is not None else "not measured"
        counts[end] = counts.get(end, 0) + 1
        if end in (OVER, "not measured"):
            value = "" if row["value"] is None else f" {row['value']:g} {row['unit']}"
            notes.append(f"{row['name']}: {end}{value}{'; ' if row['note'] else ''}{row['note']}")
    return counts, notes


def line(outcome: Outcome) -> str:
    rows = ", ".join(f"{count} {end}" for end, count in outcome.rows.items())
    words = "; ".join(word for word in (rows, outcome.reason) if word)
    return f"{outcome.name:<12} {outcome.end:<13} {outcome.seconds:6.1f} s   {words}".rstrip()


def table(outcomes: Sequence[Outcome]) -> str:
    """What ran and how it ended, then what there is to say about single rows."""
    lines = [line(outcome) for outcome in outcomes]
    for outcome in outcomes:
        if outcome.notes:
            lines += ["", f"{outcome.name}:", *(f"  {note}" for note in outcome.notes)]
    bad = [outcome.name for outcome in outcomes if outcome.end not in GOOD]
    return "\n".join([*lines, "", f"not well: {', '.join(bad)}" if bad else "all is well"])
