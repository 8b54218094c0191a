"""Runs NVIDIA's own test suites on the simulated GPU and holds them against the lists of expected/.

    python tests/clients/suites.py --run numba-cuda               all of it; differences from the list
    python tests/clients/suites.py --run numba-cuda cudadrv/      the files whose path contains that
    python tests/clients/suites.py --run cuda-bindings --update   writes the list anew

The clients are looked for in the Python that GSHARE_TEST_CLIENTS names, else in this one; it needs pytest,
and for numba-cuda filecheck, pytest-benchmark, cffi and ml_dtypes.  numba-cuda's tests are in its wheel.
Those of cuda-bindings and cuda-core are in no package: GSHARE_CUDA_PYTHON names a checkout of NVIDIA's
cuda-python of about the same version as the wheels.

Each file of tests runs in a process of its own, on a machine of its own, under a time limit for each test;
after a crash or a hang the rest of the file runs in another process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from suite_results import (
    Listed,
    Result,
    differences,
    judge,
    read_by_hand,
    read_list,
    write_list,
)

from gshare.shim import sim

INSIDE = Path(__file__).parent / "inside"
PYTHON = os.environ.get("GSHARE_TEST_CLIENTS") or sys.executable
PROFILE = "h200"
TOOLKIT = "/usr/local/cuda"
TEST_LIMIT_S = 120
QUIET_LIMIT_S = 240  # between two tests: imports, collection, fixtures


@dataclass(frozen=True)
class Suite:
    """Where a suite's tests are and how pytest takes them."""

    package: str
    folder: Path
    root: Path
    arguments: tuple[str, ...] = ()
    helpers: str = ""


def plain(suite: Suite, test: str) -> str:
    """The test's name without the place of the checkout, which parameters may hold."""
    return test.replace(f"{suite.root.parent}/", "")


def ask_clients(code: str) -> str:
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def find(name: str) -> Suite | str:
    """Return the suite, or why it cannot run here."""
    if not ask_clients("import pytest, cuda.bindings; print('yes')"):
        return f"pytest and cuda-bindings are not installed in {PYTHON}"
    if name == "numba-cuda":
        place = ask_clients("import filecheck, numba_cuda; print(numba_cuda.__path__[0])")
        if not place:
            return f"numba-cuda and filecheck are not installed in {PYTHON}"
        tests = Path(place, "numba", "cuda", "tests")
        return Suite(
            name, tests, tests, ("-o", "consider_namespace_packages=true", "--import-mode=importlib")
        )
    checkout = os.environ.get("GSHARE_CUDA_PYTHON")
    if not checkout:
        return "GSHARE_CUDA_PYTHON names no checkout of cuda-python"
    root = Path(checkout, name.replace("-", "_"))
    helpers = Path(checkout, "cuda_bindings", "cuda", "bindings")
    return Suite(name, root / "tests", root / "tests", helpers=str(helpers))


def versions(suite: Suite) -> str:
    names = ["cuda-bindings", "cuda-core", "numba-cuda"]
    code = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {names!r}))"
    return ask_clients(code)


class Process:
    """One pytest of the clients' Python over one file, watched test by test."""

    def __init__(self, suite: Suite, file: Path, without: list[str], machine: str, log: Path) -> None:
        self.machine = machine
        out, out_end = os.pipe()
        back_end, back = os.pipe()
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))
        }
        environ = {
            **clean,
            **sim.environment(machine, PROFILE),
            "GSHARE_SUITE_PIPE": f"{out_end},{back_end}",
            "GSHARE_SUITE_HELPERS": suite.helpers,
            "PYTHONPATH": str(INSIDE),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"CUDA_HOME": TOOLKIT} if os.path.isdir(TOOLKIT) else {}),
        }
        options = ["-q", "-p", "suite_reporter", "-p", "no:cacheprovider", "-o", "addopts=", "--tb=short"]
        command = [
            PYTHON,
            "-m",
            "pytest",
            *options,
            "--rootdir",
            str(suite.root),
            *suite.arguments,
            str(file),
        ]
        with log.open("a") as output:
            self.child = subprocess.Popen(
                command + [word for test in without for word in ("--deselect", test)],
                env=environ,
                cwd=suite.folder,
                pass_fds=(out_end, back_end),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(out_end)
        os.close(back_end)
        self.out, self.back = out, back

    def lines(self) -> Iterator[dict[str, str] | None]:
        """Yield what it says, None while it is silent, until it ends; each line is answered by a byte."""
        rest = b""
        while True:
            if not select.select([self.out], [], [], 0.5)[0]:
                if self.child.poll() is not None:
                    return
                yield None
                continue
            data = os.read(self.out, 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield json.loads(line)
                with contextlib.suppress(BrokenPipeError):
                    os.write(self.back, b".")

    def kernels(self) -> int:
        """How many the machine has run or holds."""
        try:
            truth = sim.stat(self.machine)
        except sim.SimulationError:
            return 0
        return sum(p["kernels"] + p["queued"] for d in truth["devices"] for p in d["processes"])

    def end(self) -> int:
        """Kill what is left of it; the exit status."""
        status = self.child.poll()
        if status is None:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                self.child.send_signal(
                    signal.SIGABRT
                )  # pytest's fault handler writes where it hangs into the log
                status = self.child.wait(timeout=5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        status = self.child.wait()
        os.close(self.out)
        os.close(self.back)
        return status


def run_once(process: Process) -> tuple[list[Result], bool]:
    """Return the results until the process ended, and whether it ended by itself."""
    results: list[Result] = []
    current, kernels, since = "", 0, time.monotonic()
    hung = False
    for line in process.lines():
        if line is None:
            hung = time.monotonic() - since > (TEST_LIMIT_S if current else QUIET_LIMIT_S)
            if hung:
                break
            continue
        since = time.monotonic()
        if "outcome" in line:
            ran = process.kernels() - kernels
            results.append(Result(line["test"], line["outcome"], line["why"], ran))
            current = ""
        else:
            current, kernels = line["test"], process.kernels()
    if not hung:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.child.wait(timeout=60)
    status = process.end()
    if current:
        results.append(Result(current, "hung" if hung else "crashed", f"exit status {status}"))
    return results, not current and status in (0, 1, 2, 5)


def run_file(suite: Suite, file: Path, never: set[str], logs: Path) -> list[Result]:
    name = file.relative_to(suite.folder).as_posix()
    log = logs / f"{name.replace('/', '_')}.log"
    log.unlink(missing_ok=True)
    results: list[Result] = [
        Result(t, "failed", "never begun") for t in sorted(never) if t.startswith(f"{name}::")
    ]
    while True:
        with tempfile.TemporaryDirectory() as folder:
            machine = f"{folder}/machine"
            process = Process(suite, file, [r.test for r in results], machine, log)
            more, ended = run_once(process)
            sim.stop(machine)
        results += more
        if ended or not more:
            return results if ended else [*results, Result(name, "crashed", "outside a test")]


def run(
    suite: Suite, only: list[str], logs: Path, say: Callable[[str], None] = print
) -> tuple[dict[str, tuple[str, str]], list[Result]]:
    """Run the files whose path contains one of `only` (all: none); what each test did, judged and raw."""
    by_hand, never = read_by_hand(suite.package)
    judged: dict[str, tuple[str, str]] = {}
    raw: list[Result] = []
    for file in sorted(suite.folder.rglob("test_*.py")):
        name = file.relative_to(suite.folder).as_posix()
        if only and not any(word in name for word in only):
            continue
        began = time.monotonic()
        results = run_file(suite, file, never, logs)
        raw += results
        now = {plain(suite, result.test): judge(result, by_hand) for result in results}
        judged.update(now)
        counts = Listed([], now).counts()
        say(f"{name}: {dict(counts)} {time.monotonic() - began:.0f} s")
    return judged, raw


def heading(suite: Suite, judged: dict[str, tuple[str, str]]) -> list[str]:
    listed = Listed([], judged)
    counts = listed.counts()
    lines = [
        f"{suite.package}'s own tests on the simulated GPU ({PROFILE}): {versions(suite)}.",
        "Written by tests/clients/suites.py --update; the reasons are those of suite_results.py.",
        ", ".join(f"{counts[key]} {key}" for key in sorted(counts)) + ".",
        f"Passed: {listed.passed_percent():.1f} % of those that need no arithmetic,"
        f" {listed.passed_percent_possible():.1f} % of those that nothing rules out.",
    ]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="NVIDIA's own test suites on the simulated GPU")
    parser.add_argument("--run", required=True, choices=["numba-cuda", "cuda-bindings", "cuda-core"])
    parser.add_argument("--update", action="store_true", help="write the list anew")
    parser.add_argument("--logs", type=Path, help="where pytest's output goes")
    parser.add_argument("only", nargs="*", help="parts of the paths of the files to run")
    options = parser.parse_args()
    suite = find(options.run)
    if isinstance(suite, str):
        print(f"{options.run}: {suite}", file=sys.stderr)
        return 2
    logs = options.logs or Path(tempfile.mkdtemp(prefix="suites-"))
    logs.mkdir(parents=True, exist_ok=True)
    judged, raw = run(suite, options.only, logs)
    (logs / "results.json").write_text(json.dumps([asdict(result) for result in raw], indent=1))
    for result in raw:
        if judged[plain(suite, result.test)][0] == "failed":
            print(f"failed {result.test}: {result.outcome}: {result.why}")
    print(*heading(suite, judged), f"Output: {logs}", sep="\n")
    if options.update:
        tests = {**(read_list(options.run).tests if options.only else {}), **judged}
        write_list(options.run, Listed(heading(suite, tests), tests))
        return 0
    lines = differences(read_list(options.run), judged, whole=not options.only)
    print(*lines, sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
