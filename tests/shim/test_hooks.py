"""The table of the driver's functions is complete, and hooks a function in every spelling or in none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import ROOT
from interception import names

from gshare.shim.hooks import HOOKS

ENV = "GSHARE_TEST_CUDA_HEADERS"
RELEASES = ["11.8", "12.9", "13.0", "newest"]
# What programs see of cuda.h: its default spellings, those of a per-thread default stream, and all others.
SPELLINGS = ["-UNONE", "-DCUDA_API_PER_THREAD_DEFAULT_STREAM", "-D__CUDA_API_VERSION_INTERNAL"]
GRAPHICS = ["cudaGL.h", "cudaEGL.h", "cudaVDPAU.h"]  # need other headers: read as text

needs_headers = pytest.mark.skipif(
    ENV not in os.environ, reason=f"{ENV} names no folder of CUDA headers (.ci/cuda-headers.sh makes one)"
)


def declared(release: str) -> set[str]:
    """Return every function of a release's cuda.h, in every spelling."""
    include = Path(os.environ[ENV]) / release / "include"
    found: set[str] = set()
    for spelling in SPELLINGS:
        command = ["gcc", "-E", "-P", spelling, "-x", "c", str(include / "cuda.h")]
        code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.update(re.findall(r"\bCUresult\s+(cu[A-Z]\w*)\s*\(", code))
    return found


@needs_headers
@pytest.mark.parametrize("release", RELEASES)
def test_every_function_of_cuda_h_has_a_row(release: str) -> None:
    functions = declared(release)

    assert len(functions) > 500
    assert functions - set(names()) == set()


@needs_headers
@pytest.mark.parametrize("release", RELEASES)
def test_functions_for_graphics_have_rows_too(release: str) -> None:
    text = "".join((Path(os.environ[ENV]) / release / "include" / header).read_text() for header in GRAPHICS)
    functions = set(re.findall(r"^\s*CUresult CUDAAPI (cu[A-Z]\w*)\s*\(", text, re.M))

    assert len(functions) > 10
    assert functions - {"cuWGLGetDevice"} - set(names()) == set()  # that one is Windows'


@needs_headers
def test_no_row_is_invented() -> None:
    rows = {name for name in names() if not re.search("GL[A-Z]|Egl|VDPAU|Profiler", name)}

    assert rows - set.union(*map(declared, RELEASES)) == set()


def test_a_function_has_one_row() -> None:
    assert [name for name, count in Counter(hook.name for hook in HOOKS).items() if count > 1] == []


def test_every_class_is_explained_where_the_table_begins() -> None:
    head = (ROOT / "shim/src/hooks.def").read_text().partition("*/")[0]
    explained = re.findall(r"^ \*   ([A-Z]+) +\S", head, re.M)

    assert sorted(explained) == sorted({hook.hook_class for hook in HOOKS})


def test_a_function_is_hooked_in_every_spelling_or_in_none() -> None:
    spellings: dict[str, dict[str, bool]] = defaultdict(dict)
    for hook in HOOKS:
        spellings[re.sub(r"(_v\d)?(_pt[sd][sz])?$", "", hook.name)][hook.name] = hook.hooked
    torn = {base: found for base, found in spellings.items() if len(set(found.values())) > 1}

    assert torn == {}


def test_the_hook_table_is_c_s_own() -> None:
    names = [hook.name for hook in HOOKS]
    assert len(set(names)) == len(names) > 600
    hooked = {hook.name for hook in HOOKS if hook.hooked}
    assert {"cuInit", "cuMemAlloc_v2", "nvmlDeviceGetMemoryInfo"} <= hooked
    assert "cuDeviceGetName" not in hooked
    printed = subprocess.run(
        [sys.executable, "-m", "gshare.shim"], capture_output=True, text=True, check=True
    ).stdout
    assert len(printed.splitlines()) == len(names) + 2
    assert "| CUDA | ALLOC | `cuMemAlloc_v2` | hooked |" in printed
