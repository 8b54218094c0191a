"""The roads to the driver, taken by tests/programs/roads.c, and what a lookup on them answers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gshare.shim import LIBRARY
from gshare.shim.hooks import HOOKS

DRIVER = "libcuda.so.1"
IS_SANITIZED = b"__asan_init" in LIBRARY.read_bytes()
as_shipped = pytest.mark.skipif(IS_SANITIZED, reason="the library is built for .ci/sanitize, not as it ships")
HOOKED = {hook.name for hook in HOOKS if hook.hooked}
LIMITED = {"GSHARE_TENANT_DIR": "/nonexistent"}
"""A limit is asked for.  It could not be applied, but a lookup does not get as far as cuInit."""


def names(library: str = "CUDA") -> list[str]:
    """Return the functions of a library that the table knows, hooked or not."""
    return [hook.name for hook in HOOKS if hook.library == library]


def preloaded(environ: Mapping[str, str], *libraries: Path) -> dict[str, str]:
    there = environ.get("LD_PRELOAD", "").split(":")  # a sanitizer's runtime, if any
    return {**environ, "LD_PRELOAD": ":".join(filter(None, [*map(str, libraries), *there]))}


def run(
    command: Sequence[str | Path], environ: Mapping[str, str], lines: Iterable[str] = ()
) -> subprocess.CompletedProcess[str]:
    text = "".join(f"{line}\n" for line in lines)
    return subprocess.run(command, env=environ, input=text, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Road:
    """How roads.c is told to look for functions; {…} names one of `Programs.files`."""

    name: str
    arguments: tuple[str, ...]
    linked: bool = False  # the program itself, with the driver
    folder: str = "driver"  # that the loader searches
    environ: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Answer:
    """What a lookup gave: the driver's own code and status, and where the address lies."""

    result: int
    status: int  # -1: not written
    file: str | None
    symbol: str | None

    @property
    def is_hook(self) -> bool:
        return self.file == str(LIBRARY)


@dataclass(frozen=True)
class Programs:
    """Programs that look for functions or call them, and the drivers they find them in."""

    plain: Path
    linked: Path
    calls: Path
    files: dict[str, Path]
    environ: dict[str, str]  # without any shim

    def take(
        self, road: Road, lines: Iterable[str], *preload: Path, environ: Mapping[str, str] | None = None
    ) -> dict[str, Answer]:
        """Look for each line's function on a road; the answer for each line."""
        folder = {"LD_LIBRARY_PATH": str(self.files[road.folder].parent)}
        full = {**self.environ, **folder, **road.environ, **(environ or {})}
        program = self.linked if road.linked else self.plain
        arguments = [argument.format(**self.files) for argument in road.arguments]
        done = run([program, *arguments], preloaded(full, *preload) if preload else full, lines)
        assert (done.returncode, done.stderr) == (0, "")
        answers = {}
        for row in done.stdout.splitlines():
            line, result, status, *place = row.split("\t")
            file, symbol = (None if text == "-" else text for text in place)
            answers[line] = Answer(int(result), int(status), file, symbol)
        return answers

    def call(self, road: str, functions: Iterable[str], *preload: Path) -> subprocess.CompletedProcess[str]:
        """Call functions found on a road; lines of name, result, how often the driver was reached."""
        driver = self.files["driver"]
        environ = {**self.environ, "LD_LIBRARY_PATH": str(driver.parent)}
        return run(
            [self.calls, road, driver], preloaded(environ, *preload) if preload else environ, functions
        )
