"""Arrays and mipmapped arrays: charged what the device gives for them, of every shape and format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2
INVALID_VALUE = 1

LAYERED, SURFACE, CUBEMAP, SPARSE, DEFERRED = 0x01, 0x02, 0x04, 0x40, 0x80
FLOAT = 0x20

# `make(door, shape, levels)` makes an array by one of the doors; a shape is (width, height, depth, format,
# channels, flags).  `charged` and `taken`: what the tenant is charged, and what the machine gave.
ARRAYS = """
from gshare.shim import sim
class Desc(ctypes.Structure):
    _fields_ = [*((n, size) for n in "whd"), *((n, ctypes.c_uint) for n in "fcg")]
class Desc1(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in "whdfcg"]
class Flat(ctypes.Structure):
    _fields_ = Desc._fields_[:2] + Desc._fields_[3:5]
class Flat1(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in "whfc"]
def make(door, shape, levels=4):
    w, h, d, f, c, flags = shape
    desc = {"cuArrayCreate": Flat1, "cuArrayCreate_v2": Flat, "cuArray3DCreate": Desc1}.get(door, Desc)
    desc = desc(w, h, f, c) if "Array3D" not in door and "Mip" not in door else desc(*shape)
    more = [ctypes.c_uint(levels)] if "Mip" in door else []
    return new(door, ctypes.byref(desc), *more)
def destroy(door, handle):
    return call("cuMipmappedArrayDestroy" if "Mip" in door else "cuArrayDestroy", handle)
def charged():
    free, total = info()
    return total - free - base[0]
def taken():
    return sim.stat(os.environ["SIMGPU_MACHINE"])["devices"][0]["used_bytes"] - base[1]
base = [0, 0]
start()
base = [charged(), taken()]
"""

# The doors of the oldest API take contexts of it only; see test_the_oldest_spellings.
DOORS = ["cuArrayCreate_v2", "cuArray3DCreate_v2", "cuMipmappedArrayCreate"]

# 16 MiB each; a mipmapped one has a third more.
SQUARE = (2048, 1024, 0, FLOAT, 2, 0)

SHAPES = {
    "2d": SQUARE,
    "2d of bytes": (1, 5000, 0, 0x01, 1, 0),
    "3d": (300, 200, 70, 0x10, 4, 0),
    "2d layered": (500, 300, 33, 0x02, 1, LAYERED),
    "cubemap": (500, 500, 6, FLOAT, 1, CUBEMAP),
    "cubemap layered": (200, 200, 18, FLOAT, 4, CUBEMAP | LAYERED),
    "surface": (1000, 1000, 0, FLOAT, 4, SURFACE),
}
LINES = {"1d": (30_000, 0, 0, FLOAT, 4, 0), "1d layered": (1000, 0, 50, FLOAT, 4, LAYERED)}
LATE = {"sparse": (*SQUARE[:5], SPARSE), "deferred": (*SQUARE[:5], DEFERRED)}

FORMATS = [
    *((f, c) for f in (0x01, 0x02, 0x03, 0x08, 0x09, 0x0A, 0x10, 0x20) for c in (1, 2, 4)),
    *((0xC0 + i, (1, 2, 4)[i % 3]) for i in range(12)),
    *((0x91 + i, 4) for i in range(6)),
    *((0x97, 1), (0x98, 1), (0x99, 2), (0x9A, 2), (0x9B, 3), (0x9C, 3), (0x9D, 4), (0x9E, 4)),
    *((f, 3) for f in (0x9F, 0xA1, 0xA2, 0xA3, 0xA4, 0xB0, 0xB2, 0xB3, 0xB4, 0xB5)),
    *((f, 3) for f in range(0x53, 0x5F)),
    *((0x51, 2), (0x52, 4), (0xA5, 2), (0xA6, 2), (0xA7, 2), (0xA8, 4), (0xA9, 4), (0xB1, 4), (0x50, 4)),
]

Cases = Sequence[tuple[str, tuple[int, ...]]]

# Makes and destroys one of each, and tells (code, charged, taken) while it is there, and what is left.
EACH = """
seen = []
for door, shape in {cases}:
    code, handle = make(door, shape)
    seen.append([code, charged(), taken()])
    if not code:
        must("cuMipmappedArrayDestroy" if "Mip" in door else "cuArrayDestroy", handle)
out([seen, charged(), taken()])
"""


def each(tenant: Tenant, cases: Cases, faults: str = "") -> list[list[int]]:
    """What `cases` were charged and took; nothing may be left of them."""
    seen, charged, taken = tenant.run(ARRAYS + EACH.format(cases=cases), SIMGPU_FAULTS=faults)
    assert (charged, taken) == (0, 0)
    assert [code for code, *_ in seen] == [0] * len(cases)
    return [sizes for _, *sizes in seen]


@pytest.mark.parametrize("door", DOORS)
def test_the_quota_holds_to_the_byte(new_tenant: Callable[..., Tenant], door: str) -> None:
    tenant = new_tenant()
    program = ARRAYS + f"made = [make({door!r}, {SQUARE}) for i in range(80)]\n"
    assert tenant.run(program + "out([c for c, h in made])", limited=False) == [0] * 80, (
        "the control gets all"
    )
    assert tenant.physical_peak() > GIB
    one = each(tenant, [(door, SQUARE)])[0][0]
    count = (GIB - tenant.context_bytes[0]) // one

    def codes(limit: int) -> list[int]:
        tenant.limits.set_memory_limit(0, limit)
        tell = f"gone = [destroy({door!r}, h) for c, h in made if not c]\n"
        tell = f"there = taken()\n{tell}out([[c for c, h in made], there, gone, charged(), taken()])"
        got, taken, gone, *left = tenant.run(program + tell)
        assert taken == one * got.count(0)
        assert set(gone) == {0}
        assert left == [0, 0]
        result: list[int] = got
        return result

    used = tenant.context_bytes[0] + 3 * one
    assert codes(used) == [0] * 3 + [OUT_OF_MEMORY] * 77
    assert codes(used - 1) == [0] * 2 + [OUT_OF_MEMORY] * 78
    assert codes(GIB) == [0] * count + [OUT_OF_MEMORY] * (80 - count)
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_each_shape_is_charged_what_it_takes(tenant: Tenant) -> None:
    cases = [(d, s) for d in DOORS[1:] for s in SHAPES.values()]
    cases += [("cuArrayCreate_v2", s) for s in SHAPES.values() if not s[2]]
    for (door, shape), (charged, taken) in zip(cases, each(tenant, cases), strict=True):
        assert charged == taken > 0, (door, shape)


def test_lines_are_charged_as_one_row_of_blocks(tenant: Tenant) -> None:
    cases = [(d, s) for d in DOORS[1:] for s in LINES.values()] + [("cuArrayCreate_v2", LINES["1d"])]
    for (door, shape), (charged, taken) in zip(cases, each(tenant, cases), strict=True):
        assert taken <= charged <= 8 * taken, (door, shape)


def test_what_is_mapped_later_takes_nothing(tenant: Tenant) -> None:
    cases = [(d, s) for d in DOORS[1:] for s in LATE.values()]
    assert each(tenant, cases) == [[0, 0]] * len(cases)


# 960 x 640 divides by 4 and by 2, as compressed and planar formats want it.
@pytest.mark.parametrize("door", DOORS[1:])
def test_every_format_counts_in_bytes(tenant: Tenant, door: str) -> None:
    formats = [f for f in FORMATS if not ("Mip" in door and f[1] == 3 and f[0] not in (0x9B, 0x9C))]
    cases = [(door, (960, 640, 0, f, c, 0)) for f, c in formats]
    for case, (charged, taken) in zip(cases, each(tenant, cases), strict=True):
        assert charged == taken > 0, case


@pytest.mark.parametrize("door", DOORS)
def test_where_the_driver_does_not_say_an_upper_bound_is_charged(tenant: Tenant, door: str) -> None:
    flat = door == "cuArrayCreate_v2"
    shapes = [s for s in (*SHAPES.values(), *LINES.values()) if not (flat and s[2])]
    shapes += [(960, 640, 0, f, c, 0) for f, c in FORMATS if c != 3 or "Mip" not in door]
    cases = [(door, s) for s in shapes]
    faults = "cuArrayGetMemoryRequirements:1-:801,cuMipmappedArrayGetMemoryRequirements:1-:801"
    for case, (charged, taken) in zip(cases, each(tenant, cases, faults), strict=True):
        assert 0 < taken <= charged, case
        assert charged <= max(8 * taken if case[1][1] < 8 else 2.5 * taken, 64 << 10), case


def test_levels_and_planes_are_not_charged_again(tenant: Tenant) -> None:
    program = (
        ARRAYS
        + f"""
mip = make("cuMipmappedArrayCreate", {SQUARE})[1]
planar = make("cuArray3DCreate_v2", (960, 640, 0, 0xb0, 3, 0))[1]
before = charged()
parts = [new("cuMipmappedArrayGetLevel", mip, i) for i in range(4)]
parts += [new("cuArrayGetPlane", planar, i) for i in range(2)]
refused = [call("cuArrayDestroy", h) for c, h in parts]
out([[c for c, h in parts], refused, charged() == before == taken(), call("cuMipmappedArrayDestroy", mip),
     call("cuArrayDestroy", planar), charged(), taken()])
"""
    )
    codes, refused, same, *end = tenant.run(program)
    assert codes == [0] * 6
    assert refused == [400] * 6, "the driver's own answer"
    assert same
    assert end == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "end",
    [
        "must('cuDevicePrimaryCtxReset_v2', 0)",
        "must('cuDevicePrimaryCtxRelease_v2', 0)",
        "other and must('cuCtxDestroy_v2', other)",
    ],
)
def test_arrays_end_with_their_context(tenant: Tenant, end: str) -> None:
    program = f"""
other = 0
if "Destroy" in {end!r}:
    before = charged()
    other = new("cuCtxCreate_v2", 0, 0)[1]
[make(door, {SQUARE}) for door in {DOORS} for i in range(3)]
there = charged() >= 9 * 16 * MIB
{end}
context = u64()
must("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
must("cuCtxSetCurrent", context)
out([there, charged(), taken(), make("cuArrayCreate_v2", {SQUARE})[0], charged() == taken()])
"""
    assert tenant.run(ARRAYS + program) == [True, 0, 0, 0, True]


def test_the_whole_quota_is_there_again_after_a_kill(tenant: Tenant) -> None:
    program = ARRAYS + f"out([make('cuArrayCreate_v2', {SQUARE})[0] for i in range(200)].count(0))\n"
    with tenant.start(program + "os.kill(os.getpid(), 9)") as killed:
        assert killed.stdout is not None
        count = int(killed.stdout.readline())
    assert count > 0
    assert tenant.run(program) == count


BAD = {
    "no width": (0, 16, 0, FLOAT, 1, 0),
    "no height but a depth": (16, 0, 16, FLOAT, 1, 0),
    "three channels": (1 << 16, 1 << 15, 0, FLOAT, 3, 0),
    "no such format": (16, 16, 0, 0x77, 1, 0),
    "not a cube": (1 << 15, 1 << 14, 6, FLOAT, 4, CUBEMAP),
    "wider than any": (1 << 40, 1 << 15, 0, FLOAT, 4, 0),
    "as wide as can be": ((1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1, FLOAT, 4, 0),
    "compressed and as wide": ((1 << 64) - 1, (1 << 64) - 1, 0, 0x91, 4, 0),
    "planar and as wide": ((1 << 64) - 2, (1 << 64) - 2, 0, 0xB0, 3, 0),
    "many layers": (1 << 15, 1 << 15, 1 << 62, FLOAT, 4, LAYERED),
    "unknown flags": (16, 16, 0, FLOAT, 1, 1 << 20),
}


@pytest.mark.parametrize("door", ["cuArray3DCreate_v2", "cuMipmappedArrayCreate"])
def test_bad_arguments_get_the_drivers_answer(tenant: Tenant, door: str) -> None:
    program = f"codes = [make({door!r}, s)[0] for s in {list(BAD.values())}]\n"
    program += f"codes += [call({door!r}, *a, 1) for a in ((None, None), (ctypes.byref(u64()), None))]\n"
    program += "out([codes, charged(), taken()])"
    assert tenant.run(ARRAYS + program) == [[INVALID_VALUE] * (len(BAD) + 2), 0, 0]
    assert tenant.run(ARRAYS + program, limited=False)[0] == [INVALID_VALUE] * (len(BAD) + 2)


@pytest.mark.parametrize("door", DOORS)
def test_what_the_driver_fails_is_given_back(tenant: Tenant, door: str) -> None:
    program = ARRAYS + f"codes = [make({door!r}, {SQUARE})[0] for i in range(5)]\n"
    program += "out([codes.count(0), charged() == taken(), charged() // codes.count(0) >= 16 * MIB])"
    assert tenant.run(program, SIMGPU_FAULTS=f"{door}:2-3:2") == [3, True, True]


def test_a_failed_destroy_keeps_the_charge(tenant: Tenant) -> None:
    program = f"""
for door in {DOORS}:
    handle = make(door, {SQUARE})[1]
    before = charged()
    out([destroy(door, handle), charged() == before == taken(), destroy(door, handle), charged(), taken()])
"""
    faults = "cuArrayDestroy:1:999,cuArrayDestroy:4:999,cuMipmappedArrayDestroy:1:999"
    with tenant.start(ARRAYS + program, SIMGPU_FAULTS=faults) as running:
        output, errors = running.communicate()
    assert errors == ""
    assert output == "[999, true, 0, 0, 0]\n" * 3


def test_asking_neither_waits_nor_breaks_a_capture(tenant: Tenant) -> None:
    """A shape that is new is made, and refused, while the GPU is busy for longer than the test."""
    program = f"""
PTX = b".version 6.0\\n.target sm_50\\n.address_size 64\\n.visible .entry spin(.param .u64 ns) {{ ret; }}\\n"
kernel = u64(new("cuModuleGetFunction", new("cuModuleLoadData", PTX)[1], b"spin")[1])
ns = u64(3_000_000_000)
must("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, (ctypes.c_void_p * 1)(ctypes.addressof(ns)), None)
codes = [make(door, (w, w, 0, {FLOAT}, 2, 0))[0] for door in {DOORS} for w in (512, 1024, 32768)]
busy = call("cuCtxGetCurrent", ctypes.byref(u64())) == 0 and call("cuStreamQuery", 0) == 600
out([codes, busy])
os._exit(0)
"""
    assert tenant.run(ARRAYS + program) == [[0, 0, OUT_OF_MEMORY] * 3, True]


def test_a_capture_survives_the_asking(tenant: Tenant) -> None:
    """It is refused before the driver is called, so that only our asking could break the capture."""
    program = f"""
stream = new("cuStreamCreate", 1)[1]
must("cuStreamBeginCapture_v2", stream, 0)
code = make("cuArrayCreate_v2", (65536, 4096, 0, {FLOAT}, 4, 0))[0]
graph = u64()
out([code, call("cuStreamEndCapture", stream, ctypes.byref(graph)), graph.value != 0])
"""
    assert tenant.run(ARRAYS + program) == [OUT_OF_MEMORY, 0, True]


def test_many_shapes_leave_nothing_behind(tenant: Tenant) -> None:
    """More than are remembered, and more than are kept to ask."""
    program = f"""
made = [make("cuArrayCreate_v2", (256 + 16 * i, 16, 0, {FLOAT}, 4, 0)) for i in range(400)]
exact = taken() <= charged() <= 2 * taken()
codes = [call("cuArrayDestroy", h) for c, h in made]
out([exact, sum(c for c, h in made) + sum(codes), charged(), taken()])
again = [make("cuArrayCreate_v2", (256 + 16 * i, 16, 0, {FLOAT}, 4, 0))[1] for i in range(400)]
"""
    assert tenant.run(ARRAYS + program) == [True, 0, 0, 0]


def test_the_oldest_spellings(tenant: Tenant) -> None:
    program = (
        ARRAYS.replace("start()", "must('cuInit', 0); new('cuCtxCreate', 0, 0)")
        + f"""
seen = []
for door in ("cuArrayCreate", "cuArray3DCreate"):
    while not (code := make(door, {SQUARE})[0]):
        pass
    seen.append(code)
    seen.append(charged() == taken())
out([seen, charged() // (16 * MIB)])
"""
    )
    seen, count = tenant.run(program)
    assert seen == [OUT_OF_MEMORY, True] * 2
    assert count == (GIB - tenant.context_bytes[0]) // (16 * MIB)


@pytest.mark.parametrize("seed", range(3))
def test_threads_that_make_and_destroy_at_random(tenant: Tenant, seed: int) -> None:
    """Four threads, doors and shapes at random, a driver that fails now and then: nothing is lost."""
    shapes = [*SHAPES.values(), *LINES.values(), *LATE.values()]
    program = f"""
import random
def work(seed):
    dice = random.Random(seed)
    must("cuCtxSetCurrent", context)
    mine = []
    for step in range(300):
        if mine and (len(mine) == 20 or dice.random() < 0.4):
            door, handle = mine.pop(dice.randrange(len(mine)))
            while destroy(door, handle):
                pass
        else:
            door = dice.choice({DOORS})
            code, handle = make(door, dice.choice({shapes}), dice.randrange(8))
            if not code:
                mine.append((door, handle))
    left.extend(mine)
left = []
context = u64(new("cuCtxGetCurrent")[1])
for round in range(3):
    threads = [threading.Thread(target=work, args=({seed} * 100 + round * 10 + i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    there = (charged(), taken())
    while left:
        door, handle = left.pop()
        while destroy(door, handle):
            pass
    out([*there, charged(), taken()])
"""
    faults = f"cuArray*:p0.02@{seed}:2,cuMipmappedArray*:p0.02@{seed}:2"
    with tenant.start(ARRAYS + program, SIMGPU_FAULTS=faults) as running:
        output, errors = running.communicate()
    assert errors == ""
    for line in output.splitlines():
        there, taken, *left = json.loads(line)
        assert taken <= there <= GIB
        assert left == [0, 0]
    assert len(output.splitlines()) == 3
    assert tenant.physical_peak() <= tenant.usage.device(0).peak_bytes <= GIB


def test_arrays_are_charged_where_they_are(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 2 * GIB])
    program = f"out([make('cuArrayCreate_v2', {SQUARE})[0] for i in range(200)].count(0))"
    for order in ("0,1", "1,0"):
        for ordinal, device in enumerate(map(int, order.split(","))):
            start = ARRAYS.replace("start()", f"start({ordinal})")
            count = tenant.run(start + program, CUDA_VISIBLE_DEVICES=order)
            assert count == ((GIB, 2 * GIB)[device] - tenant.context_bytes[device]) // (16 * MIB)
