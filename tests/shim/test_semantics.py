"""What is not ours stays as it was: the loader's functions answer a program as if no shim were there."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from glob import glob
from pathlib import Path

import pytest
from conftest import ROOT
from interception import as_shipped, preloaded, run

from gshare.shim import LIBRARY

pytestmark = as_shipped
BUILDS = {
    "as installed": [],
    "-O0": ["-O0"],
    "-O3": ["-O3"],
    "UBSan": ["-O0", "-fsanitize=undefined"],
    "ASan": ["-O1", "-fsanitize=address"],
    "TSan": ["-O1", "-fsanitize=thread"],
}
ASKED = {"loader.c", "real.c", "resolve.c", "symbols.c"}
"""The shim's files that answer, or ask, the loader: the others are compiled once."""
RUNTIMES = {"ASan": "libasan.so", "TSan": "libtsan.so"}  # must be preloaded before what needs them


@pytest.fixture(scope="session")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return all that is the same in each build, as one object."""
    target = tmp_path_factory.mktemp("shim") / "rest.o"
    sources = sorted(path for path in glob(f"{ROOT}/shim/src/*.c") if Path(path).name not in ASKED)
    options = ["-std=gnu17", "-O0", "-fPIC", "-fvisibility=hidden", "-r", "-nostdlib"]
    subprocess.run(["gcc", *options, f"-I{ROOT}/shim/src", *sources, "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="session")
def shims(build: Callable[..., Path], rest: Path) -> Callable[[str], list[Path]]:
    """Return a function that builds the shim in one of the ways of BUILDS; what to preload for it."""
    built: dict[str, list[Path]] = {"as installed": [LIBRARY]}

    def get(how: str) -> list[Path]:
        if how not in built:
            sources = [*(f"{ROOT}/shim/src/{name}" for name in sorted(ASKED)), str(rest)]
            options = ["-fvisibility=hidden", "-Wno-unused-parameter", "-shared", "-Wl,-Bsymbolic"]
            built[how] = [build(f"shim/{how}.so", options=[*sources, *options, *BUILDS[how]])]
            if how in RUNTIMES:
                query = run(["gcc", f"-print-file-name={RUNTIMES[how]}"], os.environ)
                runtime = Path(query.stdout.strip())
                if not runtime.is_absolute():
                    pytest.skip(f"{RUNTIMES[how]} is not installed")
                built[how].insert(0, runtime.resolve())
        return built[how]

    return get


@pytest.fixture(scope="session")
def semantics(build: Callable[..., Path]) -> list[str]:
    """Return a program linked with a chain of two libraries, and a library that only its RUNPATH finds."""
    second = build("chain/libsecond.so", "next.c", options=["-shared", "-DNUMBER=1", "-DLAST"])
    first = build("chain/libfirst.so", "next.c", options=["-shared", "-DNUMBER=40"])
    near = build("chain/near/libnear.so", "next.c", options=["-shared", "-DNUMBER=2", "-DLAST"])
    path = f"-Wl,--no-as-needed,--enable-new-dtags,-rpath,{first.parent}:{near.parent}"
    return [str(build("semantics", "semantics.c", options=[path, str(first), str(second)])), near.name]


@pytest.mark.parametrize("how", BUILDS)
def test_the_loader_answers_as_without_the_shim(
    semantics: list[str], shims: Callable[[str], list[Path]], environ: dict[str, str], how: str
) -> None:
    *runtime, shim = shims(how)
    options = {"ASAN_OPTIONS": "detect_leaks=0"}  # the program was not built for it
    bare = run(semantics, {**preloaded(environ, *runtime), **options})
    guest = run(semantics, {**preloaded(environ, *runtime, shim), **options})

    assert "chain of RTLD_NEXT: 41" in bare.stdout
    assert runtime or "dlopen by RUNPATH: found" in bare.stdout  # the sanitizers' own dlopen spoils it
    assert (guest.returncode, guest.stdout, guest.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions")
@pytest.mark.parametrize("how", ["as installed", "-O0", "UBSan", "ASan", "TSan"])
@pytest.mark.parametrize("name", ["dlsym", "dlvsym", "dlopen"])
def test_what_is_passed_on_leaves_by_a_jump(shims: Callable[[str], list[Path]], how: str, name: str) -> None:
    code = run(["objdump", "-d", "--no-show-raw-insn", f"--disassemble={name}", shims(how)[-1]], os.environ)
    jumps = [line for line in code.stdout.splitlines() if "jmp" in line and "*" in line]

    assert jumps, code.stdout
