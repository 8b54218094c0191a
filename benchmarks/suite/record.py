"""The JSON object of a run (gshare/bench/v1): raw samples, where they were taken, what is made of them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from gshare.benchmarks.results import SCHEMA
from gshare.benchmarks.suite import stats
from gshare.benchmarks.suite.arms import Arm
from gshare.benchmarks.suite.controls import Control
from gshare.benchmarks.suite.metrics import LOWER, Metric, Trial
from gshare.cli.outputs import Bench, BenchRow

BENCH = "suite"


class ArmValues(msgspec.Struct, omit_defaults=True):
    """What one arm has in one metric: by block, and the median with its interval; or why it has nothing."""

    values: dict[str, float] = {}
    median: float | None = None
    low: float | None = None
    high: float | None = None
    skipped: str = ""


class MetricResult(msgspec.Struct, omit_defaults=True):
    id: str
    group: str
    what: str
    unit: str
    better: str
    compared: str
    arms: dict[str, ArmValues]
    against: dict[str, stats.Against] = {}
    """gshare against each other arm."""
    must: float | None = None
    control: str = ""
    """Which arm ran without limits, of a metric of isolation."""
    control_failed: bool | None = None
    """Whether that one failed, as it must for the metric to mean anything; without a number it did not."""
    gvb: str = ""


class Run(msgspec.Struct, omit_defaults=True):
    """One run of one trial under one arm."""

    trial: str
    group: str
    arm: str
    block: int
    seconds: float
    values: dict[str, float] = {}
    details: dict[str, Any] = {}
    failed: str = ""


class Machine(msgspec.Struct):
    host: str
    system: str
    cpu: str
    cpus: int
    python: str
    load_before: list[float]
    load_after: list[float]
    gpu: dict[str, Any]


class Options(msgspec.Struct):
    groups: list[str]
    arms: list[str]
    blocks: int
    quick: bool
    virtual_clock: bool
    rivals: dict[str, str]
    """The SHA-256 of each one's library."""


class Result(Bench, frozen=True, tag=SCHEMA, tag_field="schema"):
    """As benchmarks with budgets have it, with gshare's median of each metric as a row.

    It is within its budget if all that measures isolation has found it missing where there are no limits.
    """

    revision: str
    seconds: float
    machine: Machine
    options: Options
    controls: list[Control]
    metrics: list[MetricResult]
    runs: list[Run]


def load(path: Path) -> Result:
    """Raises msgspec.ValidationError for what is no result."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def json_schema() -> dict[str, Any]:
    return msgspec.json.schema(Result)


# -------- what it was taken on --------


def digest(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()


def revision() -> str:
    """The commit of the directory that this is run in, if that is gshare's; else the version alone."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    known = Path("benchmarks/suite").is_dir() and done.returncode == 0
    return os.environ.get("GSHARE_REVISION") or (done.stdout.strip() if known else "")


def machine(load_before: Sequence[float], gpu: dict[str, Any]) -> Machine:
    return Machine(
        host=hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        system=f"{platform.system()} {platform.release()}",
        cpu=_cpu(),
        cpus=os.cpu_count() or 0,
        python=platform.python_version(),
        load_before=[round(x, 2) for x in load_before],
        load_after=[round(x, 2) for x in os.getloadavg()],
        gpu=gpu,
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def clocks(uuid: str) -> dict[str, int]:
    """The GPU's, in MHz, by NVML."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        kinds = {"sm": pynvml.NVML_CLOCK_SM, "memory": pynvml.NVML_CLOCK_MEM}
        return {name: int(pynvml.nvmlDeviceGetClockInfo(handle, kind)) for name, kind in kinds.items()}
    except pynvml.NVMLError:
        return {}


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# -------- what is made of it --------


def metric_results(
    trials: Sequence[Trial], arms: Sequence[Arm], runs: Sequence[Run], skipped: Mapping[tuple[str, str], str]
) -> list[MetricResult]:
    """Each metric with what every arm has in it; `skipped` says why, by trial and arm."""
    return [
        _metric_result(metric, trial, arms, runs, skipped) for trial in trials for metric in trial.metrics
    ]


def _metric_result(
    metric: Metric,
    trial: Trial,
    arms: Sequence[Arm],
    runs: Sequence[Run],
    skipped: Mapping[tuple[str, str], str],
) -> MetricResult:
    mine = [run for run in runs if (run.group, run.trial) == (trial.group, trial.name)]
    by_arm = {
        arm.name: {
            run.block: run.values[metric.id]
            for run in mine
            if run.arm == arm.name and metric.id in run.values
        }
        for arm in arms
    }
    found: dict[str, ArmValues] = {}
    for arm in arms:
        values = by_arm[arm.name]
        if values:
            middle = stats.interval(list(values.values()))
            found[arm.name] = ArmValues({str(block): value for block, value in values.items()}, *middle)
        else:
            failures = [run.failed for run in mine if run.arm == arm.name and run.failed]
            why = (
                skipped.get((trial_key(trial), arm.name))
                or (failures or ["no number: nothing of the kind happened"])[0]
            )
            found[arm.name] = ArmValues(skipped=why)
    against = {}
    for name, values in by_arm.items():
        if (
            name != "gshare"
            and "gshare" in by_arm
            and (held := stats.compare(metric, by_arm["gshare"], values))
        ):
            against[name] = held
    control = "timeslice" if trial.several else "native"
    failed = None
    if metric.is_isolation and control in found and (trial_key(trial), control) not in skipped:
        without = found[control].median
        failed = without is not None and not metric.holds(without)
    return MetricResult(
        id=metric.id,
        group=trial.group,
        what=metric.what,
        unit=metric.unit,
        better=metric.better,
        compared=metric.compared,
        arms=found,
        against=against,
        must=metric.must,
        control=control if metric.is_isolation else "",
        control_failed=failed,
        gvb=metric.gvb,
    )


def trial_key(trial: Trial) -> str:
    return f"{trial.group}.{trial.name}"


def result(*, metrics: list[MetricResult], options: Options, **fields: Any) -> Result:
    return Result(
        bench=BENCH,
        gshare=version("gshare"),
        smoke=options.quick,
        within_budget=all(metric.control_failed is not False for metric in metrics),
        rows=[row for metric in metrics if (row := _row(metric))],
        metrics=metrics,
        options=options,
        **fields,
    )


def _row(metric: MetricResult) -> BenchRow | None:
    ours = metric.arms.get("gshare", ArmValues())
    if ours.median is None:
        return None
    holds = None
    if metric.must is not None:
        holds = ours.median <= metric.must if metric.better == LOWER else ours.median >= metric.must
    details = {"low": ours.low, "high": ours.high}
    return BenchRow(metric.id, metric.what, ours.median, metric.unit, metric.must, holds, "", details)
