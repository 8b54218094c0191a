"""What is not ours stays as it was: the loader's functions answer a program as if no shim were there."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path

import pytest
from conftest import ROOT
from interception import HOOKED, Programs, preloaded

from gshare.shim import LIBRARY

BUILDS = {
    "as installed": None,
    "-O0": ["-O0"],
    "-O3": ["-O3"],
    "UBSan": ["-O0", "-fsanitize=undefined"],
    "ASan": ["-O1", "-fsanitize=address"],
    "TSan": ["-O1", "-fsanitize=thread"],
}
RUNTIMES = {"ASan": "libasan.so", "TSan": "libtsan.so"}  # must be preloaded before what needs them


@pytest.fixture(scope="session")
def shims(build: Callable[..., Path]) -> Callable[[str], list[Path]]:
    """Return a function that builds the shim in one of the ways of BUILDS; what to preload for it."""
    built: dict[str, list[Path]] = {"as installed": [LIBRARY]}

    def get(how: str) -> list[Path]:
        if how not in built:
            sources = sorted(glob(f"{ROOT}/shim/src/*.c"))
            options = ["-fvisibility=hidden", "-Wno-unused-parameter", "-shared", "-Wl,-Bsymbolic", *(BUILDS[how] or [])]
            shim = build(f"shim/{how}.so", options=[*sources, *options])
            built[how] = [shim]
            if how in RUNTIMES:
                query = ["gcc", f"-print-file-name={RUNTIMES[how]}"]
                runtime = Path(subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())
                if not runtime.is_absolute():
                    pytest.skip(f"{RUNTIMES[how]} is not installed")
                built[how] = [runtime.resolve(), shim]
        return built[how]

    return get


@pytest.fixture(scope="session")
def semantics(build: Callable[..., Path]) -> list[str]:
    """Return a program linked with a chain of two libraries, and the name of a library that only its RUNPATH finds."""
    second = build("chain/libsecond.so", "next.c", options=["-shared", "-DNUMBER=1", "-DLAST"])
    first = build("chain/libfirst.so", "next.c", options=["-shared", "-DNUMBER=40"])
    near = build("chain/near/libnear.so", "next.c", options=["-shared", "-DNUMBER=2", "-DLAST"])
    path = f"-Wl,--no-as-needed,--enable-new-dtags,-rpath,{first.parent}:{near.parent}"
    return [str(build("semantics", "semantics.c", options=[path, str(first), str(second)])), near.name]


def run(command: Iterable[str | Path], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(command), env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", BUILDS)
def test_the_loader_answers_as_without_the_shim(
    semantics: list[str], shims: Callable[[str], list[Path]], environ: dict[str, str], how: str
) -> None:
    *runtime, shim = shims(how)
    options = {"ASAN_OPTIONS": "detect_leaks=0"}  # a program that was not built for it
    bare = run(semantics, {**preloaded(environ, *runtime), **options})
    guest = run(semantics, {**preloaded(environ, *runtime, shim), **options})

    assert "chain of RTLD_NEXT: 41" in bare.stdout
    assert runtime or "dlopen by RUNPATH: found" in bare.stdout  # the sanitizers' own dlopen spoils it
    assert (guest.returncode, guest.stdout, guest.stderr) == (bare.returncode, bare.stdout, bare.stderr)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions")
@pytest.mark.parametrize("how", ["as installed", "-O0", "UBSan", "ASan", "TSan"])
@pytest.mark.parametrize("name", ["dlsym", "dlvsym", "dlopen"])
def test_what_is_passed_on_leaves_by_a_jump(shims: Callable[[str], list[Path]], how: str, name: str) -> None:
    code = run(["objdump", "-d", "--no-show-raw-insn", f"--disassemble={name}", shims(how)[-1]], {}).stdout

    assert "*%r" in code or "*0x" in code, code
    assert [line for line in code.splitlines() if "jmp" in line and "*" in line], code


@pytest.mark.parametrize("variant", ["", "BY_HANDLE", "BY_LOOKUP"])
@pytest.mark.parametrize("shim_first", [True, False], ids=["shim first", "neighbour first"])
@pytest.mark.parametrize("road", ["linked", "dlsym"])
def test_another_preloaded_library_goes_on_working(
    programs: Programs, build: Callable[..., Path], road: str, shim_first: bool, variant: str
) -> None:
    """A linked program's calls pass both libraries once and reach the driver once, in either order."""
    neighbour = build(
        f"libneighbour-{variant}.so", "neighbour.c", options=["-shared", f"-D{variant or 'BY_NEXT'}"]
    )
    driver = programs.files["driver"]
    link = ["-Wl,--no-as-needed", f"-L{driver.parent}", f"-l:{driver.name}"]
    calls = build("calls", "calls.c", "linked.c", options=link)
    environ = {**programs.environ, "LD_LIBRARY_PATH": str(driver.parent)}
    order = [LIBRARY, neighbour] if shim_first else [neighbour, LIBRARY]
    done = subprocess.run(
        [calls, road, driver], input="cuInit cuLaunchKernel", env=preloaded(environ, *order),
        capture_output=True, text=True, check=False,
    )

    assert done.returncode == 0
    assert done.stdout == "cuInit\t0\t1\ncuLaunchKernel\t0\t1\n"
    met = "neighbour: cuInit\nneighbour: cuLaunchKernel\n"
    reached = road == "linked" or (shim_first and {"cuInit", "cuLaunchKernel"} <= HOOKED)
    assert done.stderr == (met if reached else "")


@pytest.mark.parametrize("road", ["linked", "dlsym"])
def test_without_limits_each_hook_reaches_the_driver_once(
    programs: Programs, build: Callable[..., Path], road: str
) -> None:
    driver = programs.files["driver"]
    link = ["-Wl,--no-as-needed", f"-L{driver.parent}", f"-l:{driver.name}"]
    calls = build("calls", "calls.c", "linked.c", options=link)
    hooks = sorted(name for name in HOOKED if name.startswith("cu") and not name.startswith("cuGetProcAddress"))
    environ = {**programs.environ, "LD_LIBRARY_PATH": str(driver.parent)}
    done = subprocess.run(
        [calls, road, driver], input="\n".join(hooks), env=preloaded(environ, LIBRARY),
        capture_output=True, text=True, check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert dict(line.split("\t", 1) for line in done.stdout.splitlines()) == dict.fromkeys(hooks, "0\t1")


@pytest.mark.parametrize("attempt", range(5))
def test_threads_and_a_forked_child_may_race_for_the_first_call(
    programs: Programs, build: Callable[..., Path], attempt: int
) -> None:
    environ = {**programs.environ, "LD_LIBRARY_PATH": str(programs.files["driver"].parent)}
    done = run([build("race", "race.c")], preloaded(environ, LIBRARY))

    assert (done.stdout, done.stderr) == ("16 of 16 succeeded, 16 found the same, child 0\n", "")
