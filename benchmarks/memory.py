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
        "refusal_pool": Budget("each live pool adds to a refusal", 1.0, "attribute queries"),
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
    among = {
        str(1 + others): round(Arm(sandbox, QUOTA, others).ns("refused", count), 1)
        for others in effort.others
    }
    details = {"query_ns": query_ns, "refusal_ns": none_ns, "refusal_with_pools_ns": pools_ns}
    return [
        BUDGETS.row("refusal", none, smoke, details={"ns": none_ns, "ns_by_living_processes": among}),
        BUDGETS.row(
            "refusal_pool",
            (pools - none) / effort.pools / query,
            smoke,
            details={"pools": effort.pools, **details},
        ),
    ]


def _init(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """many processes starting at once"""
    case = ("init", f"--processes={effort.processes}")
    bare, limited = Arm(sandbox, None), Arm(sandbox, QUOTA)
    p99_ns = [(_p99(bare.loops(*case)["ns"]), _p99(limited.loops(*case)["ns"])) for _ in range(effort.storms)]
    value = statistics.median(b for _, b in p99_ns) / statistics.median(a for a, _ in p99_ns)
    details = {
        "processes": effort.processes,
        "bare_p99_ns": [a for a, _ in p99_ns],
        "gshare_p99_ns": [b for _, b in p99_ns],
    }
    return [BUDGETS.row("init", value, smoke, details=details)]


def _times(row: Row, to: Row) -> float | None:
    return row.value / to.value if row.value and to.value else None


def _p99(samples: list[float]) -> float:
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]
