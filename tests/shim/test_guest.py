"""In a program that never calls CUDA the library is not noticed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from interception import LIMITED, Programs, as_shipped, preloaded, run

from gshare.shim import LIBRARY

LIMITS = pytest.mark.parametrize("limits", [{}, LIMITED], ids=["no limit", "a limit"])
CALLS = "open,openat,socket,connect,clone,clone3,rt_sigaction,prctl,umask,write,eventfd2,memfd_create"
COMMANDS = {
    "true": ["true"],
    "sh": ["sh", "-c", "echo out; echo err >&2; exit 7"],
    "pipeline": ["sh", "-c", "seq 3 | (cat; exit 3)"],
    "python": [sys.executable, "-c", "import ctypes, threading; print(threading.active_count())"],
}


@LIMITS
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_program_ends_and_prints_as_ever(
    environ: dict[str, str], command: list[str], limits: Mapping[str, str]
) -> None:
    bare = run(command, {**environ, **limits})
    guest = run(command, preloaded({**environ, **limits}, LIBRARY))

    assert (guest.returncode, guest.stdout, guest.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@LIMITS
@pytest.mark.parametrize("uses_nvml", [False, True], ids=["no CUDA", "an NVML tool"])
def test_nothing_is_left_in_the_process(
    programs: Programs, build: Callable[..., Path], limits: Mapping[str, str], uses_nvml: bool
) -> None:
    command = [build("guest", "guest.c"), *([programs.files["nvml"]] if uses_nvml else [])]
    bare = run(command, {**programs.environ, **limits})
    guest = run(command, preloaded({**programs.environ, **limits}, LIBRARY))

    assert "/proc/self/task: 1\n" in bare.stdout
    assert "driver: not loaded" in bare.stdout
    assert bare.stdout.count(": 0\n") == (5 if uses_nvml else 0)
    assert (guest.returncode, guest.stdout, guest.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@LIMITS
@as_shipped
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_it_opens_nothing_and_starts_nothing(
    environ: dict[str, str], tmp_path: Path, command: list[str], limits: Mapping[str, str]
) -> None:
    """The only files opened more than without it are itself and the libraries that it needs."""

    def trace(name: str, env: Mapping[str, str]) -> tuple[set[str], list[str]]:
        options = ["-ff", "-qq", "-o", f"{tmp_path}/{name}", "-e", f"trace={CALLS}"]
        given = [word for variable, value in env.items() for word in ("-E", f"{variable}={value}")]
        done = run(["strace", *options, *given, *command], environ)
        assert "strace: " not in done.stderr, done.stderr
        lines = [line for log in tmp_path.glob(f"{name}.*") for line in log.read_text().splitlines()]
        opened = {found[1] for line in lines if (found := re.match(r'open.*?"([^"]*)".* = \d+$', line))}
        return opened, sorted(found[1] for line in lines if (found := re.match(r"(?!open)(\w+)\(", line)))

    bare_files, bare_calls = trace("bare", limits)
    guest_files, guest_calls = trace("guest", {**limits, "LD_PRELOAD": str(LIBRARY)})

    assert str(LIBRARY) in guest_files
    assert {Path(f).name for f in guest_files - bare_files} <= {LIBRARY.name, "libdl.so.2", "libpthread.so.0"}
    assert guest_calls == bare_calls
