"""Code and variables of modules and libraries count from before they are loaded until they are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from images import CUBIN, PTX, cubin, fatbin, part, ptx, stored
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2

IMAGE = ptx(f".global .align 4 .b8 zeros[{MIB}];", ".global .u32 a, b[7];")
NO_OPTIONS = "None, None, 0, None, None, 0"

LOADS = [
    pytest.param("new('cuModuleLoadData', image)", "cuModuleUnload", id="data"),
    pytest.param("new('cuModuleLoadDataEx', image, 0, None, None)", "cuModuleUnload", id="data_ex"),
    pytest.param("new('cuModuleLoadFatBinary', image)", "cuModuleUnload", id="fatbin"),
    pytest.param("new('cuModuleLoad', path)", "cuModuleUnload", id="file"),
    pytest.param(f"new('cuLibraryLoadData', image, {NO_OPTIONS})", "cuLibraryUnload", id="library"),
    pytest.param(f"new('cuLibraryLoadFromFile', path, {NO_OPTIONS})", "cuLibraryUnload", id="library_file"),
]
IMAGES = {
    "ptx": IMAGE,
    "cubin": cubin(zeros=(".nv.global", MIB), set=(".nv.global.init", 100), table=(".nv.constant3", 64)),
    "fatbin": fatbin(part(PTX, IMAGE, 50), part(CUBIN, cubin(zeros=(".nv.global", MIB)))),
    "compressed": fatbin(
        stored(CUBIN, cubin(zeros=(".nv.global.init", MIB + 100), table=(".nv.constant3", 64)))
    ),
}

TOOLS = """
def used(): return total() - info()[0]
def step(value=None):
    out(value); sys.stdin.readline()
def global_of(library, name=b"zeros"):
    address, bytes_ = u64(), size()
    return call("cuLibraryGetGlobal", ctypes.byref(address), ctypes.byref(bytes_), u64(library), name)
def launch(kernel, name="cuLaunchKernel"):
    return getattr(cuda, name)(u64(kernel), 1, 1, 1, 1, 1, 1, 0, None, None, None)
"""


class Step(NamedTuple):
    """What a program said at one time, and the truth about the device then."""

    said: Any
    charged: int
    physical: int


@pytest.fixture
def walk(tenant: Tenant, tmp_path: Path) -> Callable[..., list[Step]]:
    """Return a function that runs a program, looks at each `step`, and finds physical <= charged <= limit."""

    def run(code: str, image: bytes = IMAGE, **variables: str) -> list[Step]:
        path = tmp_path / "image"
        path.write_bytes(image)
        head = TOOLS + f"path = {str(path).encode()!r}\nimage = open(path, 'rb').read()\n"
        steps = []
        with tenant.start(head + code, **variables) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stderr is not None
            for line in program.stdout:
                charged = tenant.usage.device(0).used_bytes
                steps.append(Step(json.loads(line), charged, tenant.devices()[0]["used_bytes"]))
                program.stdin.write("\n")
                program.stdin.flush()
            assert program.stderr.read() == ""
        assert program.returncode == 0
        for _, charged, physical in steps:
            assert physical <= charged <= tenant.limits.device(0).memory_limit_bytes
        return steps

    return run


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(("load", "unload"), LOADS)
def test_a_module_counts_until_it_is_unloaded(
    tenant: Tenant, walk: Callable[..., list[Step]], load: str, unload: str, kind: str
) -> None:
    code = f"""
start(); step()
code, handle = {load}; step(code)
if code == 0 and {unload!r} == "cuLibraryUnload": step(global_of(handle))
if code == 0: must({unload!r}, handle); step()
pieces, _ = fill(16 * MIB); step(len(pieces))
"""
    empty, loaded, *more, unloaded, full = walk(code, IMAGES[kind])
    assert loaded.said == 0
    assert loaded.charged >= empty.charged + MIB
    assert all(step.said == 0 and step.charged == loaded.charged for step in more)
    assert (more or [loaded])[-1].physical > empty.physical + MIB
    assert (unloaded.charged, unloaded.physical) == (empty.charged, empty.physical)
    assert full.said == (GIB - empty.charged) // (16 * MIB)

    tenant.limits.set_memory_limit(0, loaded.charged - 1)
    assert walk(code, IMAGES[kind])[1].said == OUT_OF_MEMORY
    tenant.limits.set_memory_limit(0, loaded.charged)
    assert walk(code, IMAGES[kind])[1].said == 0


@pytest.mark.parametrize(("load", "unload"), LOADS)
def test_a_failed_load_is_rolled_back(walk: Callable[..., list[Step]], load: str, unload: str) -> None:
    names = ("cuModuleLoad", "cuModuleLoadData", "cuModuleLoadDataEx", "cuModuleLoadFatBinary")
    names += ("cuLibraryLoadData", "cuLibraryLoadFromFile")
    code = f"start(); step(); step([({load})[0] for _ in range(5)])"
    empty, failed = walk(code, SIMGPU_FAULTS=",".join(f"{name}:1-5:999" for name in names))
    assert failed.said == [999] * 5
    assert failed.charged == empty.charged
    empty, failed = walk(code, b".version 6.0\n.target sm_50\n.visible .entry (")
    assert 0 not in failed.said
    assert failed.charged == empty.charged


@pytest.mark.parametrize("unload", ["cuModuleUnload", "cuLibraryUnload"])
def test_a_failed_unload_changes_nothing(walk: Callable[..., list[Step]], unload: str) -> None:
    load = "new('cuModuleLoadData', image)" if unload == "cuModuleUnload" else LOADS[4].values[0]
    code = f"""
start(); handle = {load}[1]; step()
step([call({unload!r}, handle) for _ in range(3)])
step(call({unload!r}, handle))
"""
    loaded, failed, gone = walk(code, SIMGPU_FAULTS=f"{unload}:1-3:999")
    assert (failed.said, gone.said) == ([999] * 3, 0)
    assert failed.charged == loaded.charged > gone.charged + MIB


ENDS = [
    pytest.param("_, c = new('cuCtxCreate_v2', 0, 0)", "must('cuCtxDestroy_v2', c)", id="destroy"),
    pytest.param("start()", "must('cuDevicePrimaryCtxRelease_v2', 0)", id="release"),
    pytest.param("start()", "must('cuDevicePrimaryCtxReset_v2', 0)", id="reset"),
]


@pytest.mark.parametrize(("begin", "end"), ENDS)
def test_modules_end_with_their_context(walk: Callable[..., list[Step]], begin: str, end: str) -> None:
    code = f"""
must("cuInit", 0)
for _ in range(3):
    {begin}
    must_be = [new("cuModuleLoadData", image)[0] for _ in range(3)]; step(must_be)
    {end}; step()
"""
    steps = walk(code)
    assert [step.said for step in steps] == [[0, 0, 0], None] * 3
    assert len({step.charged for step in steps[::2]}) == 1
    assert all(step.charged == step.physical == 0 for step in steps[1::2])


def test_a_library_counts_in_every_context(tenant: Tenant, walk: Callable[..., list[Step]]) -> None:
    code = f"""
must("cuInit", 0)
library = {LOADS[4].values[0]}[1]; step("loaded")
contexts = [new("cuCtxCreate_v2", 0, 0)[1] for _ in range(2)]; step("created")
codes = []
for context in contexts:
    must("cuCtxSetCurrent", context)
    codes.append(global_of(library))
step(codes)
more = new("cuLibraryLoadData", image, {NO_OPTIONS})[1]; step("another")
must("cuCtxDestroy_v2", contexts[0]); step("one context")
must("cuLibraryUnload", library); step("one library")
must("cuCtxDestroy_v2", contexts[1]); step("no context")
context = new("cuCtxCreate_v2", 0, 0)[1]; step("again")
must("cuLibraryUnload", more); step("nothing")
"""
    steps = walk(code)
    context = tenant.context_bytes[0]
    library = steps[1].charged // 2 - context
    assert library > MIB
    expected = [0, 2 * (context + library), 2 * (context + library), 2 * (context + 2 * library)]
    expected += [context + 2 * library, context + library, 0, context + library, context]
    assert [step.charged for step in steps] == expected
    assert steps[2].said == [0, 0]
    assert steps[2].physical > steps[1].physical + 2 * MIB
    assert steps[-1].physical == context


def test_what_a_launch_loads_has_been_charged(walk: Callable[..., list[Step]]) -> None:
    code = f"""
start()
library = {LOADS[4].values[0]}[1]; step()
kernel = new("cuLibraryGetKernel", u64(library), b"k")[1]; step()
step(launch(kernel))
must("cuLibraryUnload", library); step()
"""
    loaded, found, launched, unloaded = walk(code)
    assert launched.said == 0
    assert launched.physical > found.physical + MIB
    assert loaded.charged == found.charged == launched.charged > unloaded.charged


def test_no_context_that_a_library_does_not_fit_into(tenant: Tenant, walk: Callable[..., list[Step]]) -> None:
    context = tenant.context_bytes[0]
    code = f"""
must("cuInit", 0)
library = {LOADS[4].values[0]}[1]
code, c = new("cuCtxCreate_v2", 0, 0); step([code, new("cuDevicePrimaryCtxRetain", 0)[0]])
must("cuLibraryUnload", library)
step(new("cuDevicePrimaryCtxRetain", 0)[0])
"""
    tenant.limits.set_memory_limit(0, context + MIB)
    assert [step.said for step in walk(code)] == [[OUT_OF_MEMORY, OUT_OF_MEMORY], 0]


def test_bad_arguments_get_the_drivers_own_answer(tenant: Tenant, tmp_path: Path) -> None:
    code = f"""
must("cuInit", 0)
def answers():
    return [
        call("cuModuleLoadData", None, b"x"), new("cuModuleLoadData", None)[0],
        new("cuModuleLoadData", b"")[0], new("cuModuleLoadData", b"nonsense")[0],
        new("cuModuleLoadFatBinary", None)[0], new("cuModuleLoad", b"/nowhere")[0],
        new("cuModuleLoad", None)[0], new("cuModuleLoad", b"/dev/null")[0],
        call("cuModuleUnload", None), call("cuLibraryUnload", None),
        new("cuLibraryLoadData", None, {NO_OPTIONS})[0],
        new("cuLibraryLoadFromFile", b"/nowhere", {NO_OPTIONS})[0],
        new("cuModuleLoadDataEx", b"nonsense", 1, None, None)[0],
    ]
before = answers()
start()
out([before, answers(), total() - info()[0]])
"""
    before, after, used = tenant.run(code)
    assert used == tenant.context_bytes[0]
    assert tenant.run(code, limited=False)[:2] == [before, after]


def test_threads_that_load_and_unload_leave_nothing(tenant: Tenant, walk: Callable[..., list[Step]]) -> None:
    code = f"""
context = start(); step()
def work():
    must("cuCtxSetCurrent", context)
    for _ in range(15):
        code, module = new("cuModuleLoadData", image)
        code2, library = new("cuLibraryLoadData", image, {NO_OPTIONS})
        if not code2: global_of(library); must("cuLibraryUnload", library)
        if not code: must("cuModuleUnload", module)
threads = [threading.Thread(target=work) for _ in range(6)]
for t in threads: t.start()
for t in threads: t.join()
step()
"""
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] + 6 * MIB)
    before, after = walk(code)
    assert before.charged == after.charged
    assert tenant.physical_peak() <= tenant.context_bytes[0] + 6 * MIB


def test_a_forked_child_starts_with_nothing(tenant: Tenant, walk: Callable[..., list[Step]]) -> None:
    code = f"""
must("cuInit", 0)
library = {LOADS[4].values[0]}[1]; step()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
start(); step()
"""
    _, started = walk(code)
    assert started.charged > tenant.context_bytes[0] + MIB
