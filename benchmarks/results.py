"""What a benchmark run found: rows, and the one JSON object that they are printed and stored as."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

SCHEMA = "gshare/bench/v1"


@dataclass(frozen=True)
class Row:
    """One measured number beside its budget, if it has one."""

    name: str
    what: str
    value: float | None
    """None: not measured; `note` says why."""
    unit: str
    budget: float | None = None
    within: bool | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def result(
    bench: str, rows: list[Row], *, simulated: bool, device: str, driver: str, smoke: bool
) -> dict[str, Any]:
    """The result of one benchmark run, as it is printed and stored."""
    return {
        "schema": SCHEMA,
        "bench": bench,
        "simulated": simulated,
        "device": device,
        "driver": driver,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gshare": version("gshare"),
        "smoke": smoke,
        "within_budget": all(row.within is not False for row in rows),
        "rows": [asdict(row) for row in rows],
    }
