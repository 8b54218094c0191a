"""What a memory quota costs: instructions of an allocation and its release, beside few and many live
ones, alone and in company; nanoseconds of a refusal; starting many processes at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gshare.benchmarks.arms import Arm
from gshare.benchmarks.budgets import Budget, Budgets
from gshare.benchmarks.results import Row
from gshare.cli.sandbox import Sandbox

BUDGETS = Budgets(
    {
        "alloc_free": Budget("cuMemAlloc + cuMemFree, over the bare calls", 400, "instructions"),
        "alloc_free_live": Budget(
            "the same with many live allocations, to with few", 1.2, "times the instructions"
        ),
        "alloc_free_processes": Budget(
            "the same among many processes that hold memory, to alone", 1.2, "times the instructions"
        ),
        "refusal": Budget("a refused cuMemAlloc", 1000, "ns"),
        "refusal_pools": Budget("beside live pools, less one attribute query for each", 1000, "ns"),
        "init": Budget("cuInit in many processes at once, p99, to bare", 2.0, "times"),
    }
)

QUOTA = ["--mem=75%"]


@dataclass(frozen=True)
class Effort:
    """How much of each is run."""

    rounds: int
    storms: int
    batches: int
    live: int
    others: tuple[int, ...]
    pools: int
    processes: int


FULL = Effort(rounds=5, storms=9, batches=200, live=100_000, others=(7, 63), pools=8, processes=200)
SMOKE = Effort(rounds=2, storms=5, batches=20, live=10_000, others=(7,), pools=8, processes=20)


def run(sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None]) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    effort = SMOKE if smoke else FULL
    rows: list[Row] = []
    for measure in (_allocations, _refusals, _init):
        say(measure.__doc__ or "")
        rows += measure(sandbox, effort, smoke)
    return rows


def _allocations(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """allocations"""
    bare, limited = Arm(sandbox, None), Arm(sandbox, QUOTA)
    count = ("--batches=10", "--batch=100")
    few, many = (("alloc-free", f"--live={live}") for live in (10, effort.live))
    alone = BUDGETS.instructions("alloc_free", bare, limited, (*few, *count), smoke)
    crowded = BUDGETS.instructions("alloc_free", bare, limited, (*many, *count), smoke)
    others = Arm(sandbox, QUOTA, effort.others[-1])
    quiet = BUDGETS.instructions("alloc_free", bare, others, (*few, *count), smoke)
    live = {"live": [10, effort.live], "instructions": [alone.value, crowded.value]}
    processes: dict[str, Any] = {
        "processes": [1, 1 + effort.others[-1]],
        "instructions": [alone.value, quiet.value],
    }
    if not smoke:
        all_allocate = Arm(sandbox, QUOTA, effort.others[-1], busy=True)
        contested = BUDGETS.instructions("alloc_free", bare, all_allocate, (*few, *count), smoke)
        processes["instructions_while_all_allocate"] = contested.value
    return [
        alone,
        BUDGETS.row("alloc_free_live", _times(crowded, alone), smoke, alone.note, live),
        BUDGETS.row("alloc_free_processes", _times(quiet, alone), smoke, alone.note, processes),
        BUDGETS.nanoseconds("alloc_free", bare, limited, few, effort.rounds),
    ]


def _refusals(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """refusals"""
    count = f"--batches={effort.batches}"
    limited = Arm(sandbox, QUOTA)
    query_ns, none_ns, pools_ns = [], [], []
    for _ in range(effort.rounds):  # in turn: a busy moment spoils all three
        query_ns.append(Arm(sandbox, None).ns("query", count))
        none_ns.append(limited.ns("refused", count))
        pools_ns.append(limited.ns("refused", count, f"--pools={effort.pools}"))
    query, none, pools = (statistics.median(ns) for ns in (query_ns, none_ns, pools_ns))
    details = {
        "pools": effort.pools,
        "query_ns": query_ns,
        "ns": pools_ns,
        "queries_a_pool": round((pools - none) / effort.pools / query, 2),
    }
    rows = [
        BUDGETS.row("refusal", none, smoke, details={"ns": none_ns}),
        BUDGETS.row("refusal_pools", pools - effort.pools * query, smoke, details=details),
    ]
    for others in effort.others:  # each is asked whether it is dead
        value = round(Arm(sandbox, QUOTA, others).ns("refused", count), 1)
        rows.append(
            Row(f"refusal_of_{1 + others}", f"among {1 + others} processes that hold memory", value, "ns")
        )
    return rows


def _init(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """many processes starting at once"""
    case = ("init", f"--processes={effort.processes}")
    arms = Arm(sandbox, None), Arm(sandbox, QUOTA)
    p99_ns: list[tuple[float, float]] = []
    for storm in range(effort.storms):  # which comes first in turn, as the machine remembers who has ended
        order = (0, 1) if storm % 2 == 0 else (1, 0)
        took = {arm: _p99(arms[arm].loops(*case)["ns"]) for arm in order}
        p99_ns.append((took[0], took[1]))
    details = {
        "processes": effort.processes,
        "bare_p99_ns": [bare for bare, _ in p99_ns],
        "gshare_p99_ns": [limited for _, limited in p99_ns],
    }
    value = statistics.median(limited / bare for bare, limited in p99_ns)
    return [BUDGETS.row("init", value, smoke, details=details)]


def _times(row: Row, to: Row) -> float | None:
    return row.value / to.value if row.value and to.value else None


def _p99(samples: list[float]) -> float:
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]
