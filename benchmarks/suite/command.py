"""`gshare bench [GROUP…]`: the suite from the command line; and `gshare bench compare A.json B.json`."""

from __future__ import annotations

import argparse
import sys
from math import inf
from pathlib import Path

import msgspec
from rich.console import Console

from gshare.benchmarks import shares
from gshare.benchmarks.suite import arms, record, table
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.run import GROUPS, PARTIAL, Wanted, run
from gshare.cli.sandbox import Sandbox
from gshare.controller.devices import real_devices, simulated_devices
from gshare.controller.errors import GshareError, UsageError
from gshare.controller.files import write_text
from gshare.shim import sim

BLOCKS, BLOCKS_QUICK = 9, 3
MOST_S, MOST_S_QUICK = 600.0, 120.0
"""How long it takes if nobody says how long, or how many blocks."""
FOLDER = "gshare-bench"


def main(options: argparse.Namespace) -> int:
    talk = Console(stderr=True, quiet=options.json)
    if options.names[:1] == ["compare"]:
        from gshare.benchmarks.suite.compare import show

        if len(options.names) != 3:
            raise UsageError("bench compare", "which two?", "gshare bench compare A.json B.json")
        before, after = (_load(Path(name)) for name in options.names[1:])
        show(before, after, Console())
        return 0
    folder = Path(options.output or FOLDER)
    try:
        return _measured(options, folder, talk)
    except OSError as error:
        where, why = error.filename or folder, error.strerror or str(error)
        raise GshareError("bench", f"{where}: {why}", "the same command goes on from here") from None


def _measured(options: argparse.Namespace, folder: Path, talk: Console) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        groups=options.names or [group for group in GROUPS if group != "models" or not options.sim],
        arms=arms.arms(options.arms.split(","), options.rival, options.sim),
        blocks=options.blocks or (BLOCKS_QUICK if options.quick else BLOCKS),
        quick=options.quick,
        folder=folder,
        most_s=_most_s(options),
    )
    if options.report and not _pictures():
        raise GshareError("bench", "the report needs matplotlib", "pip install 'gshare[bench]'")
    with Sandbox(simulated=options.sim, profile="h200" if options.sim else "") as sandbox:
        found = _ran(sandbox, wanted, talk, options.sim)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    write_text(folder / "result.json", text.decode() + "\n")
    if options.json:
        sys.stdout.buffer.write(text + b"\n")
    else:
        table.show(found, Console(width=None if sys.stdout.isatty() else 200))
    if options.report or (options.report is None and _pictures()):
        from gshare.benchmarks.suite import report

        report.write(found, folder)
    (folder / PARTIAL).unlink(missing_ok=True)
    talk.print(f"Written to {folder}/")
    return 0 if found.within_budget else 1


def _most_s(options: argparse.Namespace) -> float:
    if options.minutes:
        return float(60 * options.minutes)
    return inf if options.blocks else MOST_S_QUICK if options.quick else MOST_S


def _ran(sandbox: Sandbox, wanted: Wanted, talk: Console, simulated: bool) -> record.Result:
    place = shares.place_on(sandbox, shares.Options())
    if simulated:
        sim.start(sandbox.environment["SIMGPU_MACHINE"], sandbox.profile)
    devices = simulated_devices(sandbox.environment["SIMGPU_MACHINE"]) if simulated else real_devices()
    if not devices:
        raise GshareError("bench", "no GPU is found", "add --sim")
    return run(Ground(sandbox, place, devices[0], wanted.quick), wanted, talk)


def _pictures() -> bool:
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def _load(path: Path) -> record.Result:
    try:
        return record.load(path)
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise GshareError("bench compare", f"{path} is no result of a run", str(error)) from None
