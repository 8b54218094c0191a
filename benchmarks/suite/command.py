"""`gshare bench [GROUP…]`: the suite from the command line; `gshare bench compare`, `report`."""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import msgspec
from rich.console import Console

from gshare.benchmarks import shares
from gshare.benchmarks.results import SCHEMA
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
RIVALS = "\0gshare-bench-rivals"
"""A name that one process of the machine has."""
FOLDER, RESULT = "gshare-bench", "result.json"


def main(options: argparse.Namespace) -> int:
    verb, *names = options.names or [""]
    if verb in VERBS:
        return VERBS[verb](names, options.output)
    folder = Path(options.output or FOLDER)
    try:
        return _measured(options, folder, Console(stderr=True, quiet=options.json))
    except OSError as error:
        raise _cannot("bench", folder, error, "the same command goes on from here") from None


def _compare(names: list[str], output: Path | None) -> int:
    from gshare.benchmarks.suite.compare import show

    if len(names) != 2:
        raise UsageError("bench compare", "which two?", "gshare bench compare A.json B.json")
    before, after = (_load("bench compare", Path(name)) for name in names)
    show(before, after, Console())
    return 0


def _report(names: list[str], output: Path | None) -> int:
    """The page and the pictures of a result that was made anywhere."""
    if len(names) != 1:
        raise UsageError("bench report", "of which?", "gshare bench report RESULT.json [--output DIR]")
    path = _file(Path(names[0]))
    found, folder = _load("bench report", path), output or path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_report(found, folder)
    except OSError as error:
        raise _cannot("bench report", folder, error) from None
    print(f"Written to {folder / 'report.html'}, and pictures beside it.")
    return 0


VERBS = {"compare": _compare, "report": _report}


def _cannot(what: str, folder: Path, error: OSError, hint: str = "") -> GshareError:
    return GshareError(what, f"{error.filename or folder}: {error.strerror or error}", hint)


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
    if options.report:
        _needs_matplotlib()
    with _alone(wanted), Sandbox(simulated=options.sim, profile="h200" if options.sim else "") as sandbox:
        found = _ran(sandbox, wanted, talk, options.sim)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    write_text(folder / RESULT, text.decode() + "\n")
    if options.json:
        sys.stdout.buffer.write(text + b"\n")
    else:
        table.show(found, Console(width=None if sys.stdout.isatty() else 200))
    if options.report or (options.report is None and _has_matplotlib()):
        _write_report(found, folder)
    (folder / PARTIAL).unlink(missing_ok=True)
    talk.print(f"Written to {folder}/ after {found.seconds:.0f} s.", highlight=False)
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


@contextmanager
def _alone(wanted: Wanted) -> Iterator[None]:
    """Two cannot write to one folder; nor can two start libraries that are one for the machine.

    Either lock ends with its process.
    """
    folder, machine = os.open(wanted.folder, os.O_RDONLY), socket.socket(socket.AF_UNIX)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = f"another run writes to {wanted.folder}/"
            raise GshareError("bench", why, "--output another folder") from None
        if any(arm.rival for arm in wanted.arms):
            try:
                machine.bind(RIVALS)
            except OSError:
                why = "another run has rivals, some of which are one for the machine"
                raise GshareError("bench", why, "wait for its end") from None
        yield
    finally:
        machine.close()
        os.close(folder)


def _has_matplotlib() -> bool:
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def _needs_matplotlib() -> None:
    if not _has_matplotlib():
        raise GshareError("bench", "the report needs matplotlib", "pip install 'gshare[bench]'")


def _write_report(found: record.Result, folder: Path) -> None:
    _needs_matplotlib()
    from gshare.benchmarks.suite import report

    report.write(found, folder)


def _file(path: Path) -> Path:
    """A result by its file, or by its folder."""
    return path / RESULT if path.is_dir() else path


def _load(what: str, path: Path) -> record.Result:
    try:
        return record.load(_file(path))
    except OSError as error:
        raise _cannot(what, path, error) from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        hint = f"{error}; this gshare reads {SCHEMA}"
        raise GshareError(what, f"{path} is no result of a run", hint) from None
