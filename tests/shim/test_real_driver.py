"""Lookups in NVIDIA's own driver, which needs no GPU for them, are its own but for the hooks.

The simulated GPU's driver, always at hand, is held to the same.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from interception import DRIVER, HOOKED, LIMITED, Programs, Road, names

from gshare.shim import LIBRARY
from gshare.shim.sim import LIBRARY_DIR

ENV = "GSHARE_TEST_REAL_LIBCUDA"
REAL = [Path(path) for path in os.environ.get(ENV, "").split(":") if path]
MISSING = f"{ENV} names no libcuda.so.1, or several with : between (.ci/real-libcuda.sh fetches them)"
VERSIONS = [*range(2000, 13001, 1000), 3020, 6050, 11030, 11080, 12020, 12050, 13050]
FLAGS = [0, 1, 2, 3, 4]
ODD = ["cuMemAlloc_v2", "cuNoSuchFunction", "malloc", "cuLaunchKernel_ptsz"]

BY_NAME = [
    Road("linked", ("linked",), linked=True, folder="real"),
    Road("linked, RTLD_DEFAULT", ("default",), linked=True, folder="real"),
    Road("soname", ("dlsym", DRIVER), folder="real"),
    Road("path, and no other driver", ("dlsym", "{real}"), folder="nowhere"),
    Road("RTLD_DEEPBIND", ("deepbind", "{real}"), folder="real"),
    Road(
        "RTLD_DEEPBIND of a linked library",
        ("client-linked", "{client}", DRIVER),
        folder="real",
        environ=LIMITED,
    ),
    Road("dlmopen", ("dlmopen", DRIVER), folder="real"),
]


@pytest.fixture(
    params=[Path(LIBRARY_DIR) / DRIVER, *(REAL or [None])],
    ids=lambda path: path.parent.name if path else "real",
)
def real(request: pytest.FixtureRequest, programs: Programs, tmp_path: Path) -> Programs:
    """Return the programs with a driver for the loader to find: the simulated GPU's, or a real one."""
    if request.param is None:
        pytest.skip(MISSING)
    environ = {**programs.environ, "SIMGPU_MACHINE": str(tmp_path / "machine")}
    return replace(programs, files={**programs.files, "real": request.param}, environ=environ)


@pytest.mark.parametrize("road", BY_NAME, ids=str)
def test_each_name_is_the_hook_or_the_drivers_own(real: Programs, road: Road) -> None:
    bare = real.take(road, names())
    shim = real.take(road, names(), LIBRARY)
    exported = {name for name, answer in bare.items() if answer.symbol == name}

    assert len(exported) > 500
    for name in exported:
        assert shim[name].is_hook == (name in HOOKED), name
        assert shim[name].symbol == name
    if (
        not road.linked and "linked" not in road.name
    ):  # a weak reference or RTLD_DEFAULT finds the shim itself
        assert {name for name, answer in shim.items() if answer.file} == exported


@pytest.mark.parametrize("road", ["lookup", "lookup-v2", "lookup-of-lookup"])
def test_each_lookup_is_answered_as_the_driver_does_but_for_the_hooks(real: Programs, road: str) -> None:
    """Every base name, version and flag: the code, the status and the spelling are the driver's."""
    bases = sorted({re.sub(r"(_v\d)?(_pt[sd][sz])?$", "", name) for name in names()})
    lines = [
        f"{name} {version} {flags}" for name in [*bases, *ODD] for version in VERSIONS for flags in FLAGS
    ]
    bare = real.take(Road(road, (road, DRIVER), folder="real"), lines)
    shim = real.take(Road(road, (road, DRIVER), folder="real"), lines, LIBRARY)

    assert len(bare) == len(lines)
    assert sum(1 for answer in bare.values() if answer.file) > 10_000
    for line, driver in bare.items():
        assert replace(shim[line], file=None) == replace(driver, file=None), line
        assert shim[line].is_hook == (driver.symbol in HOOKED), line
        assert shim[line].is_hook or shim[line].file == driver.file, line


def test_every_answer_is_an_export_with_an_address_of_its_own(real: Programs) -> None:
    """That is what substitution by address stands on."""
    lines = [f"{name} {version} {flags}" for name in names() for version in VERSIONS for flags in FLAGS]
    answers = real.take(Road("lookup-v2", ("lookup-v2", DRIVER), folder="real"), lines)
    found = [answer for answer in answers.values() if answer.file]

    assert found
    assert {answer.symbol for answer in found} <= {*names()}
    symbols = real.take(Road("soname", ("dlsym", DRIVER), folder="real"), names())
    assert all(answer.symbol in (name, None) for name, answer in symbols.items())


def test_calls_answer_as_they_do_without_the_shim(real: Programs) -> None:
    alone = replace(real, files={**real.files, "driver": real.files["real"]})
    calls = ["cuInit", "cuDeviceGetCount", "cuMemAlloc_v2", "cuLaunchKernel", "cuCtxSynchronize"]
    bare = alone.call("dlsym", calls)
    shim = alone.call("dlsym", calls, LIBRARY)

    assert bare.returncode == 0
    assert (shim.returncode, shim.stdout, shim.stderr) == (bare.returncode, bare.stdout, bare.stderr)
