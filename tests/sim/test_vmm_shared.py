"""Physical memory that has a descriptor, in the process that made it and in others."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import Machine
from told import Program, sound

MIB = 1 << 20

Start = Callable[..., Program]

HELP = """
import ctypes
def shareable(bytes_, kind=1, place=0, handles=1):
    prop = AllocationProp(type=1, handles=handles, location=Location(kind, place))
    return new("cuMemCreate", bytes_, ctypes.byref(prop), 0)
def mapped(handle, bytes_):
    address = new("cuMemAddressReserve", bytes_, 0, 0, 0)[1]
    must("cuMemMap", address, bytes_, 0, handle, 0); open_access(address, bytes_)
    return address
def export(handle, kind=1):
    fd = ctypes.c_int(-1); code = call("cuMemExportToShareableHandle", ctypes.byref(fd), handle, kind, 0)
    return code, fd.value
def bring(fd, kind=1): return new("cuMemImportFromShareableHandle", fd, kind)
def unmap(address, bytes_): return call("cuMemUnmap", address, bytes_)
def release(handle): return call("cuMemRelease", handle)
def cut(fd):
    try: os.ftruncate(fd, 0)
    except OSError as error: return error.errno
"""


@pytest.fixture
def shares(program: Start) -> Start:
    def start(**variables: str) -> Program:
        one = program(**variables)
        one.do(f"exec({HELP!r}, globals())")
        return one

    return start


def vmm(machine: Machine) -> int:
    return sound(machine, "vmm")


def test_a_descriptor_carries_memory_to_another_process(
    machine: Machine, shares: Start, tmp_path: Path
) -> None:
    owner, other = shares(), shares()
    owner.do("c, handle = shareable(4 * MIB)", "address = mapped(handle, 4 * MIB)", "c, fd = export(handle)")
    address = owner("address")
    owner.write(address + MIB, "after")  # what was there before moves along: see the other test
    fd = owner.send(owner("fd"), other, str(tmp_path / "s"))
    code, handle = other(f"bring({fd})")
    assert code == 0
    view = other(f"mapped({handle}, 4 * MIB)")
    assert other.read(view + MIB, 5) == "after"
    other.write(view, "other")
    assert owner.read(address, 5) == "other"
    assert [p.charged("vmm") for p in (owner, other)] == [4 * MIB, 0]
    # Handle, mapping and descriptor of the owner go: the other has it, and is charged.
    assert owner("[release(handle), unmap(address, 4 * MIB), os.close(fd)]") == [0, 0, None]
    assert [p.charged("vmm") for p in (owner, other)] == [0, 4 * MIB]
    assert other.read(view, 5) == "other"
    assert other(f"[release({handle}), os.close({fd})]") == [0, None]
    assert vmm(machine) == 4 * MIB  # still mapped
    assert other(f"unmap({view}, 4 * MIB)") == 0
    assert vmm(machine) == 0


def test_what_was_written_before_the_export_is_exported(shares: Start, tmp_path: Path) -> None:
    owner, other = shares(), shares()
    owner.do(
        "c, handle = shareable(64 * MIB)", "a = mapped(handle, 64 * MIB)", "b = mapped(handle, 64 * MIB)"
    )
    a, b = owner("[a, b]")
    owner.write(a + 40 * MIB, "before")
    code, fd = owner("export(handle)")
    assert code == 0
    assert owner.read(b + 40 * MIB, 6) == "before"  # both mappings have moved
    owner.write(b, "twice")
    assert owner.read(a, 5) == "twice"
    handle = other(f"bring({owner.send(fd, other, str(tmp_path / 's'))})[1]")
    view = other(f"mapped({handle}, 64 * MIB)")
    assert other.read(view + 40 * MIB, 6) == "before"
    assert other.read(view, 5) == "twice"
    assert other.read(view + MIB, 2) == "\0\0"


def test_a_descriptor_alone_keeps_memory(machine: Machine, shares: Start, tmp_path: Path) -> None:
    owner, other = shares(), shares()
    owner.do("c, handle = shareable(8 * MIB)", "c, fd = export(handle)")
    fd = owner.send(owner("fd"), other, str(tmp_path / "s"))
    assert owner("[os.close(fd), release(handle), release(handle), export(handle)[0]]") == [None, 0, 1, 1]
    assert vmm(machine) == 8 * MIB
    code, handle = other(f"bring({fd})")
    assert code == 0
    assert vmm(machine) == 8 * MIB
    owner.kill()
    assert other.charged("vmm") == 8 * MIB
    assert other(f"release({handle})") == 0
    assert vmm(machine) == 8 * MIB  # the descriptor is open here
    assert other(f"[os.close({fd}), info() and None]") == [None, None]
    assert vmm(machine) == 0


def test_closing_the_last_descriptor_frees_at_the_next_look(machine: Machine, shares: Start) -> None:
    one = shares()
    one.do(
        "before = info()[0]", "c, handle = shareable(8 * MIB)", "fds = [export(handle)[1] for _ in range(2)]"
    )
    assert one("[release(handle), before - info()[0]]") == [0, 8 * MIB]
    assert one("[os.close(fds[0]), before - info()[0]]") == [None, 8 * MIB]
    code, again = one("bring(fds[1])")
    assert code == 0
    assert one(f"[os.close(fds[1]), before - info()[0], release({again}), before - info()[0]]") == [
        None,
        8 * MIB,
        0,
        0,
    ]
    assert vmm(machine) == 0


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_gives_back_or_passes_on(
    machine: Machine, shares: Start, tmp_path: Path, victim: int
) -> None:
    both = [shares(), shares()]
    both[0].do("c, handle = shareable(4 * MIB)", "a = mapped(handle, 4 * MIB)", "c, fd = export(handle)")
    both[0].write(both[0]("a"), "data")
    fd = both[0].send(both[0]("fd"), both[1], str(tmp_path / "s"))
    both[1].do(f"c, handle = bring({fd})", "a = mapped(handle, 4 * MIB)", f"fd = {fd}")
    both[victim].kill()
    survivor = both[1 - victim]
    assert vmm(machine) == survivor.charged("vmm") == 4 * MIB
    assert survivor.read(survivor("a"), 4) == "data"
    assert survivor("[unmap(a, 4 * MIB), release(handle), os.close(fd), info() and 0]") == [0, 0, None, 0]
    assert vmm(machine) == 0


def test_importing_where_it_was_made(machine: Machine, shares: Start) -> None:
    one = shares()
    one.do("c, handle = shareable(2 * MIB)", "c, fd = export(handle)", "c, again = bring(fd)")
    assert one("c") == 0
    assert vmm(machine) == 2 * MIB  # once, whatever its handles
    one.do("a, b = mapped(handle, 2 * MIB), mapped(again, 2 * MIB)")
    one.write(one("a"), "same")
    assert one.read(one("b"), 4) == "same"
    assert one("[release(handle), release(again), os.close(fd)]") == [0, 0, None]
    assert one("[unmap(a, 2 * MIB), unmap(b, 2 * MIB), info() and 0]") == [0, 0, 0]
    assert vmm(machine) == 0


def test_descriptors_that_are_none(shares: Start, tmp_path: Path) -> None:
    one, other = shares(), shares()
    one.do(
        "c, handle = shareable(2 * MIB)", "c, plain = shareable(2 * MIB, handles=0)", "c, fd = export(handle)"
    )
    assert one("[export(plain)[0], export(12345)[0], export(0)[0], export(handle, 0)[0]]") == [1, 1, 1, 1]
    assert one("[export(handle, kind)[0] for kind in (2, 4, 8, 16)]") == [801, 801, 801, 1]
    assert one("call('cuMemExportToShareableHandle', None, handle, 1, 0)") == 1
    assert one("[bring(-1)[0], bring(9999)[0], bring(0)[0], bring(fd, 8)[0], bring(fd, 0)[0]]") == [
        1,
        1,
        1,
        801,
        1,
    ]
    # A file that says that it is one, with the true name in it.
    one.do(
        "real = os.pread(fd, 4096, 2 * MIB)",
        "forged = os.memfd_create('simgpu')",
        "os.ftruncate(forged, 2 * MIB)",
    )
    assert one("[os.pwrite(forged, real, 2 * MIB), bring(forged)[0]]") == [4096, 1]
    sent = one.send(one("forged"), other, str(tmp_path / "s"))
    assert other(f"bring({sent})[0]") == 1
    one.do("end = os.pipe()")
    assert one("bring(end[0])[0]") == 1
    assert one("cut(fd)") == errno.EPERM  # nobody can cut what others have mapped


def test_a_device_that_the_importer_does_not_see(
    make_machine: Callable[..., Machine], tmp_path: Path
) -> None:
    machine = make_machine("l4*2")
    owner, blind, other = (Program(machine, CUDA_VISIBLE_DEVICES=d) for d in ("1", "0", "0,1"))
    for one in (owner, blind, other):
        one.do(f"exec({HELP!r}, globals())")
    owner.do("c, handle = shareable(2 * MIB)", "c, fd = export(handle)")
    fd = owner("fd")
    assert blind(f"bring({owner.send(fd, blind, str(tmp_path / 'a'))})[0]") == 801
    code, handle = other(f"bring({owner.send(fd, other, str(tmp_path / 'b'))})")
    assert code == 0
    other.do(
        "prop = AllocationProp()",
        f"must('cuMemGetAllocationPropertiesFromHandle', ctypes.byref(prop), {handle})",
    )
    assert other("[prop.type, prop.handles, prop.location.type, prop.location.id]") == [1, 1, 1, 1]
    for one in (owner, blind, other):
        one.end()


def test_memory_on_the_host_is_charged_to_no_device(machine: Machine, shares: Start, tmp_path: Path) -> None:
    one, other = shares(), shares()
    used = machine.device()["used_bytes"]
    for kind in (2, 3, 4):
        one.do(f"c, handle = shareable(4 * MIB, {kind}, 0)")
        assert one("c") == 0
    assert one("[shareable(4 * MIB, 3, 1)[0], shareable(4 * MIB, 1, 5)[0], shareable(4 * MIB, 0, 0)[0]]") == [
        1,
        101,
        1,
    ]
    one.do("address = mapped(handle, 4 * MIB)", "access = Access(Location(2, 0), 3)")
    assert one("call('cuMemSetAccess', address, 4 * MIB, ctypes.byref(access), 1)") == 0
    one.do("ctypes.memmove(address, b'host', 4)", "kind = ctypes.c_uint()")
    assert one.read(one("address"), 4) == "host"
    assert one("[call('cuPointerGetAttribute', ctypes.byref(kind), 2, address), kind.value]") == [0, 1]
    fd = one.send(one("export(handle)[1]"), other, str(tmp_path / "s"))
    view = other(f"mapped(bring({fd})[1], 4 * MIB)")
    assert other.read(view, 4) == "host"
    assert machine.device()["used_bytes"] == used


def test_external_memory_of_our_own(machine: Machine, shares: Start, tmp_path: Path) -> None:
    owner, other = shares(), shares()
    owner.do("c, handle = shareable(4 * MIB)", "address = mapped(handle, 4 * MIB)")
    address = owner("address")
    owner.write(address + MIB, "outside")
    fd = owner.send(owner("export(handle)[1]"), other, str(tmp_path / "s"))
    other.do(
        "class Desc(ctypes.Structure): _fields_ = [('type', u64), ('fd', u64), ('pad', u64), "
        "('size', u64), ('flags', ctypes.c_uint), ('reserved', ctypes.c_uint * 16)]",
        "class Buffer(ctypes.Structure): _fields_ = [('offset', u64), ('size', u64), "
        "('flags', ctypes.c_uint), ('reserved', ctypes.c_uint * 16)]",
        "bring_in = lambda *a: new('cuImportExternalMemory', ctypes.byref(Desc(a[0], a[1], size=a[2])))",
    )
    assert other(f"[bring_in(1, 0, MIB)[0], bring_in(9, {fd}, MIB)[0], bring_in(0, {fd}, MIB)[0]]") == [
        400,
        801,
        1,
    ]
    assert other(f"[bring_in(1, {fd}, 0)[0], bring_in(1, {fd}, 5 * MIB)[0]]") == [1, 400]
    code, memory = other(f"bring_in(1, {fd}, 4 * MIB)")
    assert code == 0
    assert other(f"os.path.exists('/proc/self/fd/{fd}')") is False  # it was taken over
    other.do(
        f"buffer = lambda *a: new('cuExternalMemoryGetMappedBuffer', {memory}, ctypes.byref(Buffer(*a)))"
    )
    assert other("[buffer(0, 5 * MIB)[0], buffer(4 * MIB, 1)[0], buffer(0, MIB, 1)[0]]") == [1, 1, 1]
    code, view = other("buffer(MIB, 512)")
    assert code == 0
    assert other.read(view, 7) == "outside"
    assert other(
        f"[call('cuDestroyExternalMemory', {memory}), call('cuDestroyExternalMemory', {memory})]"
    ) == [0, 400]
    other.write(view, "changed")
    assert owner.read(address + MIB, 7) == "changed"
    owner.kill()
    assert vmm(machine) == other.charged("vmm") == 4 * MIB
    assert other(f"[free({view}), free({view})]") == [0, 1]
    assert vmm(machine) == 0
