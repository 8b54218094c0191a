"""Memory that goes from process to process: charged to its maker, and to nobody else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

N = 100 * MIB

# A program that does what it is told, line by line; `!` begins a statement.
OBEY = """
from vmm_calls import *
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]
def told(line):
    return exec(line[1:], globals()) if line.startswith("!") else eval(line)
n = 100 * MIB
begin()
for line in sys.stdin: out(told(line))
"""


class Program:
    """A program of a tenant, or of none, that does what it is told."""

    def __init__(self, tenant: Tenant, *, limited: bool = True) -> None:
        self.tenant = tenant
        self.process: subprocess.Popen[str] = tenant.start(OBEY, limited=limited)
        self("0")

    def __call__(self, expression: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return json.loads(line)

    def send(self, fd: int, other: Program, path: Path) -> int:
        """Send a descriptor; return its number in the other program."""
        other(f"!listener = listen({str(path)!r})")
        self(f"!give({str(path)!r}, {fd})")
        number: int = other("take(listener)")
        path.unlink()
        return number

    def charged(self) -> int:
        """What the program's tenant is charged beyond one context for each of its programs."""
        return int(self("charged()"))

    def taken(self) -> int:
        """What the program has of the device beyond its context, by the machine's books."""
        pid = self.process.pid
        (process,) = (p for p in self.tenant.devices()[0]["processes"] if p["pid"] == pid)
        return int(process["used_bytes"]) - self.tenant.context_bytes[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        assert self.process.communicate(timeout=60) == ("", "")
        assert self.process.returncode == 0


Start = Callable[..., Program]


@pytest.fixture
def other_tenant(tenant: Tenant, tmp_path: Path) -> Iterator[Tenant]:
    """Return another tenant of the same machine, with 1 GiB of its own."""
    other = tenant.beside(tmp_path / "other")
    yield other
    other.limits.close()
    other.usage.close()


@pytest.fixture
def program(tenant: Tenant) -> Iterator[Start]:
    """Return a function that starts a program, of the first tenant if not of another."""
    programs: list[Program] = []

    def start(of: Tenant = tenant, **options: bool) -> Program:
        programs.append(Program(of, **options))
        return programs[-1]

    yield start
    for one in programs:
        one.end() if one.process.poll() is None else one.process.communicate()


def exported(owner: Program, other: Program, path: Path) -> int:
    """Make 100 MiB and export it; return the number of its descriptor at the other, the only one."""
    owner("!c, h = create(n); a = mapped(h, n); fd = export(h)")
    fd = owner.send(owner("fd"), other, path)
    owner("!os.close(fd)")
    return fd


# -------- physical memory --------


def test_the_owner_pays_once_until_nobody_has_it(
    program: Start, other_tenant: Tenant, tmp_path: Path
) -> None:
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    other(f"!c, h = bring({fd}); a, b = mapped(h, n), mapped(h, n); os.close({fd})")
    assert other("c") == 0
    assert [owner.charged(), other.charged(), owner.taken(), other.taken()] == [N, 0, N, 0]
    assert owner("[release(h), unmap(a, n)]") == [0, 0]
    assert [owner.charged(), other.charged()] == [N, 0], "the other still has it"
    assert other("[release(h), unmap(a, n)]") == [0, 0]
    assert [owner.charged(), other.charged()] == [N, 0]
    assert other("unmap(b, n)") == 0
    assert [owner.charged(), other.charged(), owner.taken(), other.taken()] == [0, 0, 0, 0]


def test_an_importer_lets_go_of_nothing_that_is_not_its_own(
    program: Start, other_tenant: Tenant, tmp_path: Path
) -> None:
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    other("!c, own = create(n)")
    for _ in range(3):
        assert other(f"[(c := bring({fd}))[0], release(c[1]), release(c[1])]") == [0, 0, 1]
        assert [owner.charged(), other.charged()] == [N, N]
    assert other(f"[os.close({fd}), release(own)]") == [None, 0]
    assert owner("[release(h), unmap(a, n)]") == [0, 0]
    assert [owner.charged(), other.charged()] == [0, 0]


def test_imports_are_never_refused(
    program: Start, other_tenant: Tenant, tenant: Tenant, tmp_path: Path
) -> None:
    """By a tenant that has used its quota up."""
    owner, other = program(), program(other_tenant)
    assert other("create(800 * MIB)[0]") == 0
    fd = exported(owner, other, tmp_path / "s")
    assert other(f"[bring({fd})[0], create(2 * MIB)[0], bring({fd})[0]]") == [0, 2, 0]


def test_another_process_of_the_tenant(program: Start, tmp_path: Path) -> None:
    """The tenant pays once, and for as long as either has it."""
    owner, other = program(), program()
    both = owner.charged()
    fd = exported(owner, other, tmp_path / "s")
    other(f"!c, h = bring({fd}); os.close({fd})")
    assert owner("[release(h), unmap(a, n), charged()]") == [0, 0, both + N]
    assert other.taken() == N
    assert other("[release(h), info() and 0]") == [0, 0]
    assert owner.charged() == both
    assert other.taken() == 0


def test_a_descriptor_on_its_way_keeps_it(program: Start, other_tenant: Tenant) -> None:
    owner = program()
    owner("!c, h = create(n); fd = export(h); left, right = socket.socketpair()")
    owner("!socket.send_fds(left, [b'x'], [fd]); os.close(fd); release(h)")
    assert owner("[both(), right.close(), left.close(), both()]") == [[N, N], None, None, [0, 0]]


def test_an_importer_that_dies_lets_go(program: Start, other_tenant: Tenant, tmp_path: Path) -> None:
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    assert other(f"[mapped(bring({fd})[1], n) > 0, os.close({fd})]") == [True, None]
    assert owner("[release(h), unmap(a, n), charged()]") == [0, 0, N]
    other.kill()
    assert owner("both()[0]") == 0


def test_what_outlives_its_owner_is_nobodys(
    program: Start, tenant: Tenant, other_tenant: Tenant, tmp_path: Path
) -> None:
    """The one that dies takes its charge along; what others still have of it is not charged to them."""
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    assert other(f"[mapped(bring({fd})[1], n) > 0, os.close({fd})]") == [True, None]
    owner.kill()
    assert program()("[charged(), create(800 * MIB)[0]]") == [0, 0]
    assert other.charged() == 0
    assert other.taken() == N, "the machine says so: the driver's own list of processes shows it"


def test_an_importer_without_gshare_keeps_it_by_its_descriptor_only(
    program: Start, tenant: Tenant, tmp_path: Path
) -> None:
    owner, other = program(), program(limited=False)
    fd = exported(owner, other, tmp_path / "s")
    other(f"!c, h = bring({fd})")
    assert owner("[release(h), unmap(a, n), charged()]") == [0, 0, N]
    assert other(f"os.close({fd})") is None
    assert owner.charged() == 0
    assert other("release(h)") == 0


def test_an_importer_that_closes_all_descriptors(
    program: Start, other_tenant: Tenant, tmp_path: Path
) -> None:
    """What has taken the number of ours is not closed by us."""
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    other("!there = lambda d: os.path.exists(f'/proc/self/fd/{d}'); old = [d for d in range(99) if there(d)]")
    other(f"!alike = lambda a, b: os.path.samestat(os.fstat(a), os.fstat(b)); c, h = bring({fd})")
    # The driver has one of its own, made later.
    other(f"!ours = min(d for d in range(99) if d not in old and there(d) and alike(d, {fd}))")
    other("!null = os.open('/dev/null', 0); os.dup2(null, ours)")
    assert owner("[release(h), unmap(a, n)]") == [0, 0]
    assert other("[release(h), alike(null, ours)]") == [0, True]
    other(f"!os.close({fd})")
    assert owner.charged() == 0


def test_a_forked_child_of_an_importer_keeps_nothing(
    program: Start, other_tenant: Tenant, tmp_path: Path
) -> None:
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    other(f"!c, h = bring({fd}); os.close({fd}); ready, go = os.pipe(), os.pipe()")
    other("!wait = lambda: (os.write(ready[1], b'x'), os.close(go[1]), os.read(go[0], 1), os._exit(0))")
    other("!child = os.fork(); child or wait()")
    other("!os.read(ready[0], 1)")
    assert owner("[release(h), unmap(a, n), charged()]") == [0, 0, N]
    assert other("release(h)") == 0
    assert owner.charged() == 0
    other("!os.close(go[1]); os.waitpid(child, 0)")


def test_descriptors_that_are_none_get_the_drivers_own_answer(tenant: Tenant) -> None:
    code = """
from vmm_calls import *
begin(); fd = ctypes.c_int(-1); c, h = create(2 * MIB); c, plain = create(2 * MIB, handles=0)
pipe = os.pipe()
take = lambda *a: new("cuMemImportFromShareableHandle", *a)[0]
give = lambda *a: call("cuMemExportToShareableHandle", ctypes.byref(fd), *a, 0)
codes = [bring(f)[0] for f in (-1, 9999, 0, *pipe)] + [take(0, kind) for kind in (0, 2, 8)]
codes += [call("cuMemImportFromShareableHandle", None, 0, 1)]
codes += [give(x, kind) for x in (h, plain, 0) for kind in (2, 8, 0)] + [give(x, 1) for x in (plain, 0, 77)]
codes += [call("cuMemExportToShareableHandle", None, h, 1, 0), bring_external(-1, MIB)[0]]
codes += [call("cuImportExternalMemory", None, None), call("cuDestroyExternalMemory", 0)]
out(codes)
"""
    assert tenant.run(code) == tenant.run(code, limited=False)


def test_failures_of_the_driver_are_rolled_back(tenant: Tenant) -> None:
    code = """
from vmm_calls import *
begin(); n = 100 * MIB; c, h = create(n); fd = export(h); files = os.listdir("/proc/self/fd")
codes = [bring(fd)[0], bring_external(fd, n)[0], len(os.listdir("/proc/self/fd")) - len(files)]
codes += [bring(fd)[0], os.close(fd), release(h), both(), release(h), both()]
out(codes)
"""
    faults = "cuMemImportFromShareableHandle:1:999,cuImportExternalMemory:1:999"
    assert tenant.run(code, SIMGPU_FAULTS=faults) == [999, 999, 0, 0, None, 0, [N, N], 0, [0, 0]]


# -------- external memory --------


@pytest.mark.parametrize("last", ["buffer", "memory"])
def test_external_memory_is_its_owners(
    program: Start, other_tenant: Tenant, tmp_path: Path, last: str
) -> None:
    owner, other = program(), program(other_tenant)
    fd = exported(owner, other, tmp_path / "s")
    other(f"!c, e = bring_external({fd}, n); code, p = buffer_of(e, n)")
    assert other("[c, code]") == [0, 0]
    assert [owner.charged(), other.charged()] == [N, 0]
    assert owner("[release(h), unmap(a, n), charged()]") == [0, 0, N]
    ends = ["call('cuDestroyExternalMemory', e)", "call('cuMemFree_v2', p)"]
    for end in ends if last == "buffer" else reversed(ends):
        assert [owner.charged(), other.charged()] == [N, 0]
        assert other(end) == 0
    assert [owner.charged(), other.charged(), other.taken()] == [0, 0, 0]


def test_a_context_takes_its_buffers_of_external_memory(program: Start, tenant: Tenant) -> None:
    tenant.limits.set_memory_limit(0, 2 * GIB)
    one = program()
    one("!first = u64(); must('cuCtxGetCurrent', ctypes.byref(first)); c, h = create(n); fd = export(h)")
    one("!c, second = new('cuCtxCreate_v2', 0, 0); e = bring_external(fd, n)[1]; p = buffer_of(e, n)[1]")
    one("!must('cuDestroyExternalMemory', e); must('cuMemRelease', h)")
    held = one("both()")
    one("!must('cuCtxDestroy_v2', second); must('cuCtxSetCurrent', first)")
    assert held == [N + tenant.context_bytes[0]] * 2
    assert one("both()") == [0, 0]


# -------- memory by cuIpcGetMemHandle --------


def test_linear_memory_of_others_is_not_charged(program: Start, other_tenant: Tenant) -> None:
    owner, other = program(), program(other_tenant)
    owner("!c, p = new('cuMemAlloc_v2', n); h = Handle(); must('cuIpcGetMemHandle', ctypes.byref(h), p)")
    other(f"!h = Handle.from_buffer_copy(bytes.fromhex({owner('bytes(h).hex()')!r}))")
    for name in ("cuIpcOpenMemHandle", "cuIpcOpenMemHandle_v2"):
        other(f"!p = u64(); codes = [cuda.{name}(ctypes.byref(p), h, 1) for _ in range(2)]")
        assert other("codes") == [0, 0]
        assert [owner.charged(), other.charged()] == [N, 0]
        # Freeing it is the driver's error, and closing it once more, too.
        assert other("[call('cuMemFree_v2', p), call('cuMemFreeAsync', p, 0)]") == [1, 1]
        assert other("[call('cuIpcCloseMemHandle', p) for _ in range(3)]") == [0, 0, 1]
        assert [owner.charged(), other.charged()] == [N, 0]
    assert owner("call('cuMemFree_v2', p)") == 0
    assert [owner.charged(), other.charged()] == [0, 0]


# -------- pools --------


def test_pools_of_others_are_not_charged(program: Start, other_tenant: Tenant, tmp_path: Path) -> None:
    owner, other = program(), program(other_tenant)
    owner("!pool = new('cuMemPoolCreate', ctypes.byref(PoolProps(1, 1, Location(1, 0))))[1]")
    owner("!c, p = new('cuMemAllocFromPoolAsync', n, pool, 0); fd = ctypes.c_int(); data = Handle()")
    owner("!must('cuMemPoolExportToShareableHandle', ctypes.byref(fd), pool, 1, 0)")
    owner("!must('cuMemPoolExportPointer', ctypes.byref(data), p)")
    fd = owner.send(owner("fd.value"), other, tmp_path / "s")
    other(f"!c, pool = new('cuMemPoolImportFromShareableHandle', {fd}, 1, 0)")
    other(f"!data = Handle.from_buffer_copy(bytes.fromhex({owner('bytes(data).hex()')!r}))")
    other("!code, p = new('cuMemPoolImportPointer', pool, ctypes.byref(data))")
    assert other("[c, code, new('cuMemAllocFromPoolAsync', n, pool, 0)[0] != 0]") == [0, 0, True]
    assert [owner.charged(), other.charged()] == [N, 0]
    assert other("[call('cuMemFreeAsync', p, 0), call('cuCtxSynchronize'), create(800 * MIB)[0]]") == [
        0,
        0,
        0,
    ]
    assert [owner.charged(), other.charged()] == [N, 800 * MIB]
    assert other("call('cuMemPoolDestroy', pool)") == 0
    assert owner("[call('cuMemFreeAsync', p, 0), call('cuCtxSynchronize')]") == [0, 0]
    assert [owner.charged(), other.charged()] == [0, 800 * MIB]
