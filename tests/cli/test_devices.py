"""Quotas of several GPUs: each has its own, wherever CUDA_VISIBLE_DEVICES and the driver's order put it."""

import json
import sys
from typing import Any

import pytest

from .conftest import Home

MIB, GIB = 1 << 20, 1 << 30

LOOK = """
import ctypes, json, uuid
d = ctypes.CDLL("libcuda.so.1")
count, total, context, pointer = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_void_p(), ctypes.c_uint64()
assert d.cuInit(0) == d.cuDeviceGetCount(ctypes.byref(count)) == 0
found = {}
for ordinal in range(count.value):
    own, pieces = (ctypes.c_ubyte * 16)(), 0
    assert d.cuDeviceGetUuid_v2(own, ordinal) == d.cuDeviceTotalMem_v2(ctypes.byref(total), ordinal) == 0
    if d.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal) == 0:
        d.cuCtxSetCurrent(context)
        while pieces < 100 and d.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(64 << 20)) == 0:
            pieces += 1
    found["GPU-" + str(uuid.UUID(bytes=bytes(own)))] = [total.value, pieces]
print(json.dumps(found))
"""


@pytest.fixture
def uuids(home: Home) -> list[str]:
    """A machine with an H200, an L4 and a T4, as `gshare devices` lists them."""
    assert home.gshare("sim", "start", "h200,l4,t4").returncode == 0
    listed = json.loads(home.gshare("devices", "--json").stdout)["devices"]
    return [device["uuid"] for device in listed]


def look(home: Home, *options: str, **variables: str) -> Any:
    """What a program sees and gets, by UUID: bytes in all, pieces of 64 MiB."""
    program = ["--", sys.executable, "-c", LOOK]
    result = home.gshare("run", "--sim", *options, *program, env={**home.environment, **variables})
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_every_gpu_has_its_own_quota(home: Home, uuids: list[str]) -> None:
    h200, l4, t4 = uuids
    found = look(home, "--mem", f"0=3G,{l4}=2G,2=1G")
    assert {uuid: total for uuid, (total, _) in found.items()} == {h200: 3 * GIB, l4: 2 * GIB, t4: GIB}
    control = look(home)
    for uuid, (total, pieces) in found.items():
        assert 0 < pieces < total // (64 * MIB)
        assert control[uuid][0] > 10 * GIB
        assert control[uuid][1] == 100


def test_gpus_without_an_amount_are_not_given(home: Home, uuids: list[str]) -> None:
    _, l4, t4 = uuids
    assert {uuid: total for uuid, (total, _) in look(home, "--mem", "2=1G,1=2G").items()} == {
        l4: 2 * GIB,
        t4: GIB,
    }
    chosen = look(home, "--mem", "1=2G", CUDA_VISIBLE_DEVICES="0,1")
    assert {uuid: total for uuid, (total, _) in chosen.items()} == {uuids[0]: 0, l4: 2 * GIB}
    assert chosen[uuids[0]][1] == 0
    assert look(home, "--mem", "2G,2=1G")[t4][0] == GIB


@pytest.mark.parametrize("order", ["PCI_BUS_ID", "FASTEST_FIRST"])
@pytest.mark.parametrize("visible", ["2,0", "GPU-{1}", "{2},{0},{1}", "1"])
def test_the_quota_follows_the_gpu(home: Home, uuids: list[str], order: str, visible: str) -> None:
    names = [uuid.removeprefix("GPU-") if "GPU-{" in visible else uuid for uuid in uuids]
    found = look(
        home,
        *("--mem", "0=3G,1=2G,2=1G"),
        CUDA_VISIBLE_DEVICES=visible.format(*names),
        CUDA_DEVICE_ORDER=order,
    )
    expected = dict(zip(uuids, (3 * GIB, 2 * GIB, GIB), strict=True))
    assert found
    assert {uuid: total for uuid, (total, _) in found.items()} == {uuid: expected[uuid] for uuid in found}


def test_quotas_set_and_views_tell_each_gpus_amount(home: Home, uuids: list[str]) -> None:
    assert home.gshare("quota", "set", "a", "--mem", "0=8G,1=50%").returncode == 0
    assert (
        home.gshare("quota", "set", "a", "--mem", "2=4G").stdout.splitlines()[1].split()[1]
        == "0=8G,1=50%,2=4G"
    )
    (quota,) = json.loads(home.gshare("quota", "show", "--json").stdout)["quotas"]
    assert [(on["gpu"], on["memory_bytes"], on["memory_ppm"]) for on in quota["devices"]] == [
        ("0", 8 * GIB, None),
        ("1", None, 500_000),
        ("2", 4 * GIB, None),
    ]
    home.allocator("--tenant", "a").memory()
    listed = json.loads(home.gshare("devices", "--json").stdout)["devices"]
    promised = [device["promised_memory_bytes"] for device in listed]
    assert promised == [8 * GIB, listed[1]["memory_bytes"] // 2, 4 * GIB]
    assert home.gshare("set", "a", "--mem", "0=6G,2=none").stdout == (
        "a: mem 8G -> 6G on GPU 0 (1 process)\na: unchanged on GPU 1 (1 process)\n"
        "a: mem 4G -> no limit on GPU 2 (1 process)\n"
    )
    (row,) = json.loads(home.gshare("ps", "--json").stdout)["processes"]
    assert (row["index"], row["memory_limit_bytes"]) == (0, 6 * GIB)


REFUSED = (
    (["--mem", "3=8G"], "--mem 3: no such GPU; there is 0, 1, 2 (see gshare devices)"),
    (["--mem", "0=8G,0=4G"], "--mem 0=8G,0=4G: GPU 0 is named twice"),
    (["--mem", "1=30G"], "--mem 30G: is more than GPU 1 has (22G) (try --mem 100%)"),
    (["--mem", "0=none"], "--mem none: not a size"),
    (["--mem", "0=8G", "--gpu", "0,1"], "--gpu 0,1: names GPU 1, for which --mem has no amount"),
    (["--mem", "0=8G", "--gpu", "1"], "--gpu 1: leaves out GPU 0, for which --mem has an amount"),
    (["--mem", "MIG-1b2c3d4e=8G"], "--mem MIG-1b2c3d4e: no such GPU"),
    (["--mem", "9=1G"], "--mem 9: no such GPU; there is 0, 1, 2 (see gshare devices)"),
    (["--mem", "GPU-xyz=1G"], "--mem GPU-xyz: 'GPU-xyz' is neither an index nor a UUID (see gshare devices)"),
    (["--mem", "0="], "--mem 0=: an amount and its GPU belong together (as 0=8G,1=4G)"),
    (["--mem", "=8G"], "--mem =8G: an amount and its GPU belong together"),
    (["--mem", "0=8GB"], "--mem 8GB: GB means 10^9 bytes to some and 2^30 to others (write 8G"),
    (["--mem", "0=8G,{0}=4G"], "--mem {0}: GPU 0 is named twice"),
    (["--mem", "{0:.12}=4G,00=8G"], "--mem 0: GPU 0 is named twice"),
    (["--mem", "0=101%"], "--mem 101%: more than there is (100% at most)"),
    (["--mem", "0=0%"], "--mem 0%: a share must be above zero"),
    (["--mem", "0=8G,"], "--mem : not a size"),
    (["--mem", "0=-1G"], "--mem -1G: a size must be above zero"),
    (["--mem", "0=999999999999G"], "--mem 999999999999G: nothing is that large"),
)


def test_what_cannot_be_is_refused(home: Home, uuids: list[str]) -> None:
    for words, line in REFUSED:
        options = [word.format(*uuids) for word in words]
        result = home.gshare("run", "--sim", *options, "--", "true")
        assert (result.returncode, result.stdout) == (125, "")
        assert result.stderr.startswith(f"gshare: {line.format(*uuids)}"), (options, result.stderr)
        assert result.stderr.count("\n") == 1
