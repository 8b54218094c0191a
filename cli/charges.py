"""`gshare ps --memory`: a table of what processes hold, as wide as it is worth."""

from collections import Counter
from collections.abc import Sequence

from gshare.cli.render import NOTHING, print_table
from gshare.controller.replies import Charged
from gshare.controller.units import format_size

COLUMNS = 80
OTHER = "other"


def print_charges(processes: Sequence[Charged]) -> None:
    """A column for each kind that anybody has; the smallest ones share one where there is no room for all."""
    totals = Counter[str]()
    for process in processes:
        totals.update(process.charged_bytes)
    kinds = [kind for kind, total in totals.most_common() if total]
    table = _table(processes, kinds, [])
    for shown in range(len(kinds) - 2, 0, -1):
        if _width(table) <= COLUMNS:
            break
        table = _table(processes, kinds[:shown], kinds[shown:])
    print_table(table[0], table[1:])


def _table(processes: Sequence[Charged], kinds: list[str], rest: list[str]) -> list[tuple[str, ...]]:
    header = ("tenant", "pid", "gpu", "used", "limit", *kinds, *([OTHER] if rest else []))
    return [tuple(word.upper() for word in header), *(_row(process, kinds, rest) for process in processes)]


def _row(process: Charged, kinds: list[str], rest: list[str]) -> tuple[str, ...]:
    amounts = [process.charged_bytes.get(kind, 0) for kind in kinds]
    if rest:
        amounts.append(sum(process.charged_bytes.get(kind, 0) for kind in rest))
    where = NOTHING if process.index is None else str(process.index)
    return (
        process.tenant,
        str(process.pid or NOTHING),
        "host" if process.host else f"sim:{where}" if process.simulated else where,
        format_size(process.used_bytes),
        NOTHING if process.memory_limit_bytes is None else format_size(process.memory_limit_bytes),
        *(format_size(amount) if amount else NOTHING for amount in amounts),
    )


def _width(table: list[tuple[str, ...]]) -> int:
    return sum(max(len(row[column]) for row in table) + 2 for column in range(len(table[0]))) - 2
