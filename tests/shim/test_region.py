"""The tenant's files and slots: found, verified, claimed, and freed by death and exec alone."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tenants import MIB, Tenant

from gshare.shim import LIBRARY, TENANT_DIR_VARIABLE, PreloadError, abi, preload_environment

NOT_PERMITTED = 800
OFD_SETLK = 37


def test_a_program_without_cuda_opens_nothing(tenant: Tenant) -> None:
    """Not even where what it names cannot be used."""
    environ = {**tenant.environ, TENANT_DIR_VARIABLE: "/nonexistent"}
    for command in (["true"], ["sh", "-c", "true"], ["ls", "/proc/self/fd"], ["ls", "/proc/self/task"]):
        limited = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        bare = subprocess.run(command, env=tenant.bare, capture_output=True, text=True, check=True)
        assert (len(limited.stdout.split()), limited.stderr) == (len(bare.stdout.split()), "")


def test_only_what_calls_cuda_claims_a_slot(tenant: Tenant) -> None:
    with tenant.start("out(0); sys.stdin.readline(); start(); out(1); sys.stdin.readline()") as program:
        assert program.stdout is not None
        assert program.stdin is not None
        program.stdout.readline()
        assert tenant.usage.slots() == ()
        program.stdin.write("\n")
        program.stdin.flush()
        program.stdout.readline()
        (slot,) = tenant.usage.slots(1)
        stat = Path(f"/proc/{program.pid}/stat").read_text()
        assert slot.pid == program.pid
        assert slot.start_ticks == int(stat.rpartition(")")[2].split()[19])
        assert slot.pid_space == os.stat(f"/proc/{program.pid}/ns/pid").st_ino
        assert Path(f"/proc/{program.pid}/fd").is_dir()
        opened = [os.readlink(link) for link in Path(f"/proc/{program.pid}/fd").iterdir()]
        assert not [path for path in opened if path.startswith(str(tenant.folder))]
        program.stdin.write("\n")
        program.stdin.flush()
    assert tenant.usage.slots() == ()


# -------- bad files --------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def magic(path: Path) -> None:
    path.write_bytes(b"garbage!" + path.read_bytes()[8:])


def version(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8] + struct.pack("I", abi.VERSION + 1) + content[12:])


def unfinished(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:24] + b"\0\0\0\0" + content[28:])


def missing(path: Path) -> None:
    path.unlink()


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, empty, magic, version, unfinished, missing, longer, directory])
@pytest.mark.parametrize("name", ["limits", "usage", "activity"])
def test_a_bad_file_stops_the_program_at_cuinit_with_one_line(
    tenant: Tenant, name: str, damage: Callable[[Path], None]
) -> None:
    damage(tenant.folder / name)
    with tenant.start(
        "out([call('cuInit', 0), call('cuInit', 0), new('cuDevicePrimaryCtxRetain', 0)[0]])"
    ) as program:
        output, errors = program.communicate(timeout=60)
    assert program.returncode == 0
    assert output == f"[{NOT_PERMITTED}, {NOT_PERMITTED}, 3]\n", "the driver was never started"
    (line,) = errors.splitlines()
    assert line.startswith(f"gshare: {tenant.folder}/{name}: ")
    assert "gshare run" in line


def test_a_tenant_that_is_not_there_stops_the_program(tenant: Tenant) -> None:
    for folder in ("/nonexistent", "x" * 5000):
        with tenant.start("out(call('cuInit', 0))", GSHARE_TENANT_DIR=folder) as program:
            output, errors = program.communicate(timeout=60)
        assert output == f"{NOT_PERMITTED}\n"
        assert len(errors.splitlines()) == 1


def test_a_file_that_has_been_repaired_is_taken_at_the_next_try(tenant: Tenant) -> None:
    program = """
out(call("cuInit", 0)); sys.stdin.readline()
start(); out(info()[1])
"""
    (tenant.folder / "usage").rename(tenant.folder / "aside")
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{NOT_PERMITTED}\n"
        (tenant.folder / "aside").rename(tenant.folder / "usage")
        output, _ = running.communicate("\n", timeout=60)
    assert int(output) == tenant.limits.device(0).memory_limit_bytes


# -------- slots --------


def lock_all_slots(path: Path) -> int:
    fd = os.open(path, os.O_RDWR)
    span = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, abi.SLOT_LOCK_BASE, 2 * abi.MAX_SLOTS, 0)
    fcntl.fcntl(fd, OFD_SETLK, span)
    return fd


def test_when_all_slots_are_taken_the_program_is_told(tenant: Tenant) -> None:
    fd = lock_all_slots(tenant.folder / "usage")
    with tenant.start("out(call('cuInit', 0))") as program:
        output, errors = program.communicate(timeout=60)
    os.close(fd)
    assert output == f"{NOT_PERMITTED}\n"
    assert "all slots are taken" in errors
    assert len(errors.splitlines()) == 1


HOLD = """
start(); alloc(100 * MIB)
{then}
out(os.getpid()); sys.stdin.readline()
"""


def held(tenant: Tenant) -> list[int]:
    return [slot.devices[0].held_bytes for slot in tenant.usage.slots(1)]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(
            "for fd in range(3, 1000):\n    try: os.close(fd)\n    except OSError: pass", id="close"
        ),
        pytest.param("os.closerange(3, 10000)", id="closefrom"),
        pytest.param("open(os.environ['GSHARE_TENANT_DIR'] + '/usage').close()", id="open-close"),
        pytest.param("if os.fork() == 0: os._exit(0)\nos.wait()", id="child-dies"),
        pytest.param("import subprocess; subprocess.run(['true'])", id="spawn"),
    ],
)
def test_nothing_but_its_end_frees_a_slot(tenant: Tenant, then: str) -> None:
    with tenant.start(HOLD.format(then=then)) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert held(tenant) == [tenant.context_bytes[0] + 100 * MIB]
        program.communicate("\n", timeout=60)
    assert held(tenant) == []


def test_exec_frees_the_slot(tenant: Tenant) -> None:
    then = "os.execvp('sh', ['sh', '-c', 'echo; read line'])"
    with tenant.start(HOLD.format(then=then)) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert held(tenant) == []
        program.communicate("\n", timeout=60)


def test_a_child_does_not_keep_the_parents_slot(tenant: Tenant) -> None:
    """A daemon: its parent has gone, and what the parent held is free."""
    then = "pid = os.fork()\nif pid:\n    os._exit(0)"
    with tenant.start(HOLD.format(then=then)) as program:
        assert program.stdout is not None
        daemon = int(program.stdout.readline())
        assert program.wait() == 0
        assert Path(f"/proc/{daemon}").exists()
        assert held(tenant) == []
        assert (
            tenant.run("start(); out(info()[0])")
            == tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0]
        )
        program.communicate("\n", timeout=60)


def test_a_child_forked_before_cuda_has_a_slot_of_its_own(tenant: Tenant) -> None:
    program = """
pid = os.fork()
start(); code, p = alloc(200 * MIB)
if pid == 0:
    os._exit(code or info()[0] // MIB % 251)
_, status = os.waitpid(pid, 0)
out([code, os.waitstatus_to_exitcode(status) > 0, info()[0]])
"""
    code, child_saw_some, free = tenant.run(program)
    assert code == 0
    assert child_saw_some
    assert free == tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0] - 200 * MIB, (
        "the child's is back"
    )


def test_a_child_forked_after_cuda_changes_nothing_of_its_parents(tenant: Tenant) -> None:
    """The driver does not work in it; what it tries gives nothing of the parent's back."""
    program = """
start(); code, p = alloc(200 * MIB); before = info()
pid = os.fork()
if pid == 0:
    os._exit(bool(free(p) == 0 or alloc(MIB)[0] == 0))
_, status = os.waitpid(pid, 0)
out([status, before == info(), free(p)])
"""
    assert tenant.run(program) == [0, True, 0]


def test_a_grandchild_by_exec_counts_by_itself(tenant: Tenant) -> None:
    program = """
start(); alloc(200 * MIB)
import subprocess
code = "from driver_calls import *; start(); out([alloc(200 * MIB)[0], alloc(200 * MIB)[0]])"
out(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
"""
    assert tenant.run(program) == [0, 2]


def test_threads_that_start_together_claim_one_slot(tenant: Tenant) -> None:
    program = """
barrier = threading.Barrier(8)
def work():
    barrier.wait(); must("cuInit", 0)
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
out(0); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert len(tenant.usage.slots()) == 1
        running.communicate("\n", timeout=60)


# -------- the environment of a limited program --------


def test_our_library_goes_in_front_of_what_is_preloaded() -> None:
    before = {"LD_PRELOAD": "/a.so:/b.so", "HOME": "/h"}
    after = preload_environment("/run/t", before)
    assert after == {"LD_PRELOAD": f"{LIBRARY}:/a.so:/b.so", "HOME": "/h", TENANT_DIR_VARIABLE: "/run/t"}
    assert preload_environment("/run/t", after) == after, "not twice"
    assert preload_environment("/run/t", {})["LD_PRELOAD"] == str(LIBRARY)


@pytest.mark.parametrize("path", ["/a b/libgshare.so", "/a:b/libgshare.so", "/a\tb/libgshare.so"])
def test_a_path_that_cannot_be_preloaded_is_refused(path: str) -> None:
    with pytest.raises(PreloadError, match="libgshare"):
        preload_environment("/run/t", {}, library=path)


@pytest.mark.parametrize("change", ["unsetenv(name)", "setenv(name, b'/nowhere', 1)", "setenv(name, b'', 1)"])
def test_who_changes_its_environment_stays_the_tenant(tenant: Tenant, change: str) -> None:
    program = f"""
name = b"GSHARE_TENANT_DIR"; ctypes.CDLL(None).{change}
start(); p, code = fill(64 * MIB, most=40)
out([len(p), code])
"""
    assert tenant.run(program, limited=False) == [40, 0]
    assert tenant.run(program) == [tenant.room_bytes // (64 * MIB), 2]
