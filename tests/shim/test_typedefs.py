"""Every row of NVIDIA's cudaTypedefs.h, looked up over real drivers: the spelling that the headers promise.

What a row promises is told without the table and without any driver.  A release declares as many spellings of
a function (`cuMemAlloc`, `cuMemAlloc_v2`) as it has rows (`PFN_cuMemAlloc_v2000`, `_v3020`): the older row is
the older spelling, and the compiler agrees that they have one type.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from interception import DRIVER, HOOKED, Programs, Road, names
from test_hooks import ENV as HEADERS
from test_hooks import RELEASES, declared, needs_headers
from test_real_driver import real

from gshare.shim import LIBRARY

__all__ = ["real"]

ROW = re.compile(r"^\s*typedef CUresult\s*\(CUDAAPI \*(PFN_(\w+?)(?:_v(\d+))?(_pt[sd][sz])?)\)", re.M)
SPELLING = re.compile(r"(\w+?)(?:_v(\d))?(_pt[sd][sz])?")
PER_THREAD, LEGACY = 2, 1
NO_ROW = {"cuGetProcAddress_ptsz", "cuGetProcAddress_v2_ptsz"}


class Row(NamedTuple):
    """One type of cudaTypedefs.h, and the spellings of its function up to its own, which is the last."""

    name: str
    base: str
    version: int
    per_thread: bool
    spellings: tuple[tuple[int, str], ...]

    @property
    def question(self) -> str:
        """A line for roads.c."""
        return f"{self.base} {self.version} {PER_THREAD if self.per_thread else LEGACY}"

    def expected(self, exported: set[str], driver: int) -> str | None:
        """Return the newest spelling not after this row's that a driver of that version has."""
        there = [name for since, name in self.spellings if since <= driver and name in exported]
        return there[-1] if there else None


@cache
def rows(release: str) -> tuple[Row, ...]:
    include = Path(os.environ[HEADERS]) / release / "include"
    text = (include / "cudaTypedefs.h").read_text()
    spellings: dict[tuple[str, bool], list[tuple[int, str]]] = defaultdict(list)
    for name in declared(release) - NO_ROW:
        match = SPELLING.fullmatch(name)
        assert match
        spellings[match[1], bool(match[3])].append((int(match[2] or 1), name))
    types: dict[tuple[str, bool], list[tuple[int, str]]] = defaultdict(list)
    newest = re.search(r"#define CUDA_VERSION (\d+)", (include / "cuda.h").read_text())
    assert newest
    for name, base, version, per_thread in ROW.findall(text):  # four rows of 12.9 say no version: 0
        types[base, bool(per_thread)].append((int(version or 0), name))

    assert {key: len(names) for key, names in types.items()} == {
        key: len(names) for key, names in spellings.items()
    }
    assert sum(map(len, types.values())) == len(re.findall(r"^\s*typedef CUresult", text, re.M))
    found = []
    for (base, per_thread), named in types.items():
        versions, own = zip(*sorted(named), strict=True)
        spelled = tuple(zip(versions, (name for _, name in sorted(spellings[base, per_thread])), strict=True))
        found += [
            Row(name, base, versions[i] or int(newest[1]), per_thread, spelled[: i + 1])
            for i, name in enumerate(own)
        ]
    return tuple(found)


def version_of(driver: Path, environ: Mapping[str, str]) -> int:
    """Return what a driver says of itself, which needs no device."""
    program = (
        "import ctypes, sys; n = ctypes.c_int(); ctypes.CDLL(sys.argv[1]).cuDriverGetVersion(ctypes.byref(n))"
    )
    command = [sys.executable, "-c", program + "; print(n.value)", driver]
    return int(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)


@needs_headers
@pytest.mark.parametrize("release", RELEASES)
def test_the_compiler_agrees_on_what_a_row_is(release: str, tmp_path: Path) -> None:
    same = '_Static_assert(__builtin_types_compatible_p(typeof({}) *, {}), "");\n'
    source = tmp_path / "rows.c"
    source.write_text(
        '#define __CUDA_API_VERSION_INTERNAL\n#include "cudaTypedefs.h"\n'
        + "".join(same.format(row.spellings[-1][1], row.name) for row in rows(release))
    )
    include = Path(os.environ[HEADERS]) / release / "include"
    subprocess.run(["gcc", "-std=gnu17", "-fsyntax-only", f"-I{include}", source], check=True)


@needs_headers
def test_the_rows_are_all_there() -> None:
    assert {release: len(rows(release)) for release in RELEASES[:3]} == {
        "11.8": 508,
        "12.9": 616,
        "13.0": 634,
    }
    assert len(rows("newest")) >= 685


@needs_headers
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("road", ["lookup", "lookup-v2", "lookup-of-lookup"])
def test_each_row_is_the_spelling_that_it_promises(
    real: Programs,
    road: str,
    release: str,
) -> None:
    by_name = real.take(Road("soname", ("dlsym", DRIVER), folder="real"), names())
    exported = {name for name, answer in by_name.items() if answer.file}
    driver = version_of(real.files["real"], real.environ)
    lines = [row.question for row in rows(release)]
    found = real.take(Road(road, (road, DRIVER), folder="real"), lines, LIBRARY)
    hooked = 0

    for row in rows(release):
        answer, expected = found[row.question], row.expected(exported, driver)
        assert answer.symbol == expected, row.name
        assert answer.is_hook == (expected in HOOKED), row.name
        assert answer.is_hook or answer.file == (by_name[expected].file if expected else None), row.name
        hooked += answer.is_hook
    missing = [row.name for row in rows(release) if not row.expected(exported, driver)]
    print(f"{release}: {len(lines)} rows, {hooked} hooked, {len(missing)} not in this driver")
    assert len(lines) == len(set(lines)) == len(rows(release))
    assert hooked > 80


@pytest.mark.parametrize("road", ["lookup", "lookup-v2"])
def test_an_address_that_nobody_exports_stays_the_drivers(
    programs: Programs, build: Callable[..., Path], road: str
) -> None:
    """A driver may answer with a function of its own for a name that we hook: its name is no reason."""
    options = ["-shared", "-Wl,-Bsymbolic", f"-Wl,-soname,{DRIVER}", "-DPRIVATE"]
    private = build(f"private/{DRIVER}", "fake_driver.c", options=options)
    its_own: Mapping[str, Path] = {**programs.files, "private": private}
    there = replace(programs, files=dict(its_own))
    lines = [f"{name} 13000 0" for name in names() if name in HOOKED and "cuGetProc" not in name]
    answers = there.take(Road(road, (road, DRIVER), folder="private"), lines, LIBRARY)

    assert len(lines) > 100
    assert {answer.file for answer in answers.values()} == {str(private)}
