"""`python -m gshare.benchmarks [GROUP…]`: compare arms, or hold gshare to its budgets (`budgets NAME`).

It ends with 1 if something is over its budget, or if what measures isolation does not find it missing where
there are no limits.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gshare.benchmarks.arms import Arm
from gshare.benchmarks.results import Row, result
from gshare.cli.sandbox import Sandbox
from gshare.controller.errors import GshareError, UsageError
from gshare.controller.files import write_json

ARMS = "native,gshare,timeslice"

BENCHES = {
    "controller": "gshare.benchmarks.controller",
    "memory": "gshare.benchmarks.memory",
    "overhead": "gshare.benchmarks.overhead",
    "shares": "gshare.benchmarks.shares",
    "simulator": "gshare.benchmarks.simulator",
}
"""Name to module; each has `run(sandbox, *, smoke, say) -> list[Row]`, and that of shares takes `options`."""


def show(rows: list[Row], title: str) -> None:
    table = Table(
        "what", "measured", "budget", "", title=title, title_justify="left", box=None, pad_edge=False
    )
    for row in rows:
        measured = row.note if row.value is None else f"{row.value:g} {row.unit}"
        verdict = {True: "[green]within[/]", False: "[bold red]over[/]", None: ""}[row.within]
        budget = "" if row.budget is None else f"{row.budget:g} {row.unit}"
        table.add_row(row.what, measured, row.details.get("target", budget), verdict)
    Console().print(table, highlight=False)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="gshare bench", description=__doc__)
    options.add_argument(
        "names",
        nargs="*",
        metavar="GROUP",
        help="groups; budgets NAME; compare A.json B.json; report RESULT.json",
    )
    options.add_argument("--sim", action="store_true", help="on the simulated GPU")
    options.add_argument("--smoke", action="store_true", help="budgets: short; what else runs is forgiven")
    options.add_argument("--json", action="store_true", help="print JSON (gshare/bench/v1)")
    options.add_argument(
        "--output", type=Path, metavar="PATH", help="the result's folder; of budgets, a file"
    )
    arms = options.add_argument_group("groups")
    arms.add_argument("--arms", default=ARMS, metavar="NAME,…", help=f"default: {ARMS}; there is mps, too")
    arms.add_argument("--rival", action="append", default=[], metavar="NAME=PATH", help="another library")
    arms.add_argument("--blocks", type=int, help="how often each is measured under each arm")
    arms.add_argument("--minutes", type=float, help="begin no block that would end later; default: 10")
    arms.add_argument("--quick", action="store_true", help="under two minutes")
    arms.add_argument("--report", action=argparse.BooleanOptionalAction, help="pictures and a page of them")
    only = options.add_argument_group("budgets shares")
    only.add_argument("--virtual", action=argparse.BooleanOptionalAction, help="on the virtual clock")
    only.add_argument("--pictures", type=Path, metavar="DIR", help="draw each row's shares over time")
    only.add_argument("--row", action="append", default=[], metavar="NAME", help="rows that begin so")
    only.add_argument("--slice-ms", action="append", default=[], type=float, help="the GPU's time slice")
    only.add_argument("--sigma", type=float, help="of the lognormal lengths of kernels")
    only.add_argument("--seed", type=int, default=0, help="of what is by chance")
    only.add_argument("--by-work", action="store_true", help="the truth as on a real GPU")
    return options


def budget_of(options: argparse.Namespace) -> str | None:
    """Which of the benchmarks with budgets is wanted, if one is.

    Raises UsageError where it is unclear.
    """
    names = options.names
    of_shares = [options.pictures, options.row, options.slice_ms, options.by_work]
    if names[:1] == ["budgets"]:
        names = names[1:]
    elif not options.smoke and not any(of_shares) and names != ["simulator"]:
        return None
    if len(names) != 1 or names[0] not in BENCHES:
        raise UsageError("gshare bench budgets", "of which?", ", ".join(BENCHES))
    return str(names[0])


def more(bench: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one benchmark takes and the others do not."""
    if bench != "shares":
        return {}
    from gshare.benchmarks.shares import SIGMA, Options

    return {
        "options": Options(
            virtual=options.virtual,
            by_work=options.by_work,
            pictures=options.pictures,
            only=options.row,
            slices_ms=options.slice_ms,
            sigma=SIGMA if options.sigma is None else options.sigma,
            seed=options.seed,
        )
    }


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: leave nothing behind
    try:
        bench = budget_of(options)
        return budgets(bench, options) if bench else suite(options)
    except GshareError as error:
        print(f"gshare: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if not options.smoke:
            print("gshare: bench: stopped: the same command goes on from here", file=sys.stderr)
        return 130


def suite(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("numpy") is None:
        raise GshareError("gshare bench", "intervals need numpy", "pip install 'gshare[bench]'")
    from gshare.benchmarks.suite import command

    return command.main(options)


def budgets(name: str, options: argparse.Namespace) -> int:
    bench = importlib.import_module(BENCHES[name])
    talk = Console(stderr=True, quiet=options.json)
    with Sandbox(simulated=options.sim) as sandbox:
        found = Arm(sandbox, None).loops("device")
        device, driver = found["device"], f"{found['driver'] // 1000}.{found['driver'] % 1000 // 10}"
        rows = bench.run(
            sandbox, smoke=options.smoke, say=lambda what: talk.print(f"{what} …"), **more(name, options)
        )
    answer = result(name, rows, simulated=options.sim, device=device, driver=driver, smoke=options.smoke)
    if options.output:
        write_json(options.output, answer)
    if options.json:
        print(json.dumps(answer))
    else:
        where = f"a simulated {device}" if options.sim else device
        show(rows, f"{name} on {where}, driver {driver}")
    return 0 if answer["within_budget"] else 1


if __name__ == "__main__":
    sys.exit(main())
