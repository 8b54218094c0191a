"""What the machine survives: broken files, full disks, namespaces, crowds, programs that end in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated import PREAMBLE, ROOT, Machine, line, tell

from gshare.shim import sim

INIT = "out(call('cuInit', 0))"


def attempt(machine: Machine, code: str = INIT, *before: str, **variables: str) -> tuple[str, str]:
    """Run a program; returns what it said on both streams."""
    program = subprocess.run(
        [*before, sys.executable, "-c", PREAMBLE + code],
        env={**machine.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return program.stdout.strip(), program.stderr.strip()


def write(path: str, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def boot_id_offset(path: str) -> int:
    """Where the file keeps the running kernel's id."""
    own = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    with open(path, "rb") as file:
        file.seek(-(1 << 22), os.SEEK_END)
        tail = file.read()
    at = tail.rindex(own)
    return os.path.getsize(path) - len(tail) + at


def truncate(path: str) -> None:
    os.truncate(path, 1 << 20)


def empty(path: str) -> None:
    os.truncate(path, 0)


def other_version(path: str) -> None:
    write(path, 8, (99).to_bytes(4, "little"))


def unready(path: str) -> None:
    write(path, 12, bytes(4))


def reboot(path: str) -> None:
    write(path, boot_id_offset(path), b"0" * 36)


def overwrite(path: str) -> None:
    size = os.path.getsize(path)
    write(path, 256, b"\xff" * 4096)
    assert os.path.getsize(path) == size


BROKEN = [
    (truncate, "truncated"),
    (empty, "empty"),
    (other_version, "made by another version of the simulator"),
    (unready, "half made"),
    (reboot, "left over from before this computer was started"),
    (overwrite, "corrupt"),
]


@pytest.mark.parametrize(("damage", "says"), BROKEN)
def test_a_broken_file_is_recognised_and_made_anew(
    machine: Machine, damage: Callable[[str], None], says: str
) -> None:
    assert machine.run("start(); alloc(MIB); out(1)") == 1
    damage(machine.path)
    with pytest.raises(sim.SimulationError, match=says):
        sim.stat(machine.path)  # who only looks changes nothing
    assert attempt(machine) == ("0", f"simgpu: {machine.path}: {says}; made anew")
    assert attempt(machine) == ("0", "")
    assert machine.device()["used_bytes"] == 0


def test_a_broken_file_that_is_in_use_is_left_alone(machine: Machine) -> None:
    user = machine.start("start(); out(os.getpid()); wait()")
    pid = line(user)
    other_version(machine.path)
    code, said = attempt(machine)
    assert code == "802"
    assert said == (
        f"simgpu: {machine.path}: made by another version of the simulator, and in use by {pid}: "
        "it can be made anew when they have ended"
    )
    user.communicate("\n")
    assert attempt(machine)[0] == "0"


def test_what_never_was_a_machine_is_never_deleted(machine: Machine) -> None:
    Path(machine.path).write_text("a thesis")
    said = (
        f"simgpu: {machine.path}: not a simulated machine (remove it, or set SIMGPU_MACHINE to another path)"
    )
    assert attempt(machine) == ("802", said)
    assert Path(machine.path).read_text() == "a thesis"


def test_many_programs_find_a_broken_or_no_file_at_once(machine: Machine) -> None:
    for damage in (truncate, None):
        if damage:
            assert machine.run("start(); out(1)") == 1
            damage(machine.path)
        else:
            os.unlink(machine.path)
        programs = [machine.start("wait(); start(); out(alloc(MIB)[0]); wait()") for _ in range(6)]
        for program in programs:
            tell(program)
        assert [line(program) for program in programs] == [0] * 6
        assert len([p for p in machine.device()["processes"] if not p["ended"]]) == 6  # all on one machine
        for program in programs:
            program.communicate("\n")


def test_places_where_no_machine_can_be(machine: Machine, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "such" / "folder" / "machine"
    said = f"simgpu: {nowhere}: its folder does not exist"
    assert attempt(machine, SIMGPU_MACHINE=str(nowhere)) == ("802", said)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert attempt(machine, SIMGPU_MACHINE=str(folder)) == ("802", f"simgpu: {folder}: Is a directory")


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """Be another user for files, as far as root can."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def may_unshare(*flags: str) -> bool:
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


def test_a_file_that_may_not_be_written_is_named(machine: Machine) -> None:
    assert machine.run("start(); out(1)") == 1
    os.chmod(machine.path, 0o400)
    if os.access(machine.path, os.W_OK):  # root: only a file system says no
        if not may_unshare("-Urm"):
            pytest.skip("neither an ordinary user nor a namespace for mounts")
        mount = f'mount --bind "{machine.path}" "{machine.path}" && mount -o remount,bind,ro "{machine.path}"'
        code, said = attempt(machine, INIT, "unshare", "-Urm", "sh", "-c", mount + ' && exec "$@"', "sh")
        assert (code, said) == ("802", f"simgpu: {machine.path}: Read-only file system")
    else:
        assert attempt(machine) == ("802", f"simgpu: {machine.path}: Permission denied")


OTHER = 4711


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user comes to, in a place of which that is true, too."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize(("mode", "reader"), [(0o600, OTHER + 1), (0o666, OTHER + 1), (0o666, 0)])
def test_another_users_machine_is_refused(
    machine: Machine, open_folder: Path, mode: int, reader: int
) -> None:
    path = str(open_folder / "machine")
    sim.start(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    os.chmod(path, mode)
    os.chown(path, OTHER, OTHER)
    with as_user(reader), pytest.raises(sim.SimulationError) as refused:
        sim.stat(path)
    said = f"user {OTHER}'s, and not shared between users (set SIMGPU_MACHINE to a path of your own)"
    assert str(refused.value) == f"{path}: {said}"
    if reader == 0:
        assert attempt(machine, SIMGPU_MACHINE=path) == ("802", f"simgpu: {path}: {said}")
    with as_user(OTHER):
        assert sim.stat(path)["devices"]
    with as_user(OTHER + 1), pytest.raises(sim.SimulationError, match=f"^{path}: Permission denied$"):
        sim.stop(path)


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_another_users_folder_is_named(open_folder: Path, mode: int) -> None:
    folder = open_folder / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, OTHER, OTHER)
    with as_user(OTHER + 1), pytest.raises(sim.SimulationError) as refused:
        sim.start(str(folder / "machine"))
    says = f"its folder is user {OTHER}'s (set SIMGPU_MACHINE to a path of your own)"
    assert str(refused.value) == f"{folder}/machine: {says}"


FILL = """
start(); codes = []
for _ in range(3000):
    code, lane = new('cuStreamCreate', 1)
    codes.append(code)
    if code: break
    must('cuMemsetD8Async', p, 0, 8, lane) if code == 0 and len(codes) == 1 and (p := alloc(8)[1]) else 0
out([codes[-1], len(codes), alloc(512)[0]])
"""


@pytest.mark.parametrize(("kib", "answers"), [(256, "802"), (40 << 10, "[2, ")])
def test_a_full_disk_is_an_error_and_no_signal(
    machine: Machine, tmp_path: Path, kib: int, answers: str
) -> None:
    if not may_unshare("-Urm"):
        pytest.skip("no namespace for mounts")
    small = tmp_path / "small"
    small.mkdir()
    path = small / "machine"
    mount = f'mount -t tmpfs -o size={kib}k none "{small}" && exec "$@"'
    code = INIT if kib == 256 else FILL
    said, complaint = attempt(
        machine, code, "unshare", "-Urm", "sh", "-c", mount, "sh", SIMGPU_MACHINE=str(path)
    )
    assert said.startswith(answers), complaint
    if kib == 256:
        assert complaint == f"simgpu: {path}: no room for a simulated machine: its disk is full"
    else:
        assert said.endswith(", 0]")  # what needs no more of the file still works


def test_who_cannot_see_a_process_does_not_bury_it(machine: Machine) -> None:
    if not may_unshare("-Urpf", "--mount-proc"):
        pytest.skip("no namespace for processes")
    inside = ["unshare", "-Urpf", "--mount-proc", "--kill-child", sys.executable, "-c"]
    code = (
        PREAMBLE
        + "start(); alloc(MIB); function(); out(os.getpid()); wait(); out(launch(MS)); sync(); wait()"
    )
    hidden = subprocess.Popen(
        [*inside, code], env=machine.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    inner = line(hidden)
    assert inner < 10
    assert machine.run("start(); [alloc(MIB) for _ in range(100)]; time.sleep(0.05); out(1)") == 1
    living = [p for p in machine.device()["processes"] if not p["ended"]]
    assert [p["pid"] for p in living] == [inner]
    tell(hidden)
    assert line(hidden) == 0
    # Its pid means another process out here: that one is not asked to lock itself.
    lock = f"must('cuInit', 0); out(cuda.cuCheckpointProcessLock({inner}, None))"
    assert machine.run(lock) == 1
    hidden.kill()
    hidden.wait()
    deadline = time.monotonic() + 20
    while machine.device()["used_bytes"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert machine.device()["used_bytes"] == 0


def test_the_driver_shuts_down_before_what_was_registered_before_it(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "exits"
    library = Path(sim.LIBRARY_DIR, "libcuda.so.1")
    options = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/shim/sim/driver"]
    source = ROOT / "tests" / "programs" / "exits.c"
    subprocess.run(["gcc", str(source), str(library), *options, "-o", str(target)], check=True)
    done = subprocess.run([str(target)], env=machine.environ, capture_output=True, text=True, check=True)
    assert done.stdout == "0 4 4 0\n"
    assert machine.device()["used_bytes"] == 0


CROWD = """
index = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ['INDEX'])
start(index % 8); function(); lane = stream(); out(1); wait()
for i in range(20):
    code, p = alloc(MIB)
    assert code == 0
    spin(MS // 20, lane); must('cuMemsetD8Async', p, i, MIB, lane); must('cuStreamSynchronize', lane)
    assert from_device(p, 4) == (0, bytes([i]) * 4)
    free(p)
out(os.getpid()); wait()
"""

MANY = pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(600)])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("rounds", [1, MANY])
def test_sixty_four_processes_on_eight_devices(make_machine: Callable[..., Machine], rounds: int) -> None:
    machine = make_machine("h200*8")
    for _ in range(rounds):
        programs = [machine.start(CROWD, INDEX=str(i)) for i in range(64)]
        assert [line(program) for program in programs] == [1] * 64
        for program in programs:
            tell(program)
        victims = programs[::5]
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        others = [p for p in programs if p not in victims]
        assert [line(program) for program in others] == [program.pid for program in others]
        for program in others:
            program.communicate("\n")
            assert program.returncode == 0
        for index in range(8):
            device = machine.device(index)
            gpu_ns = sum(p["gpu_ns"] for p in device["processes"]) + device["forgotten_gpu_ns"]
            assert device["used_bytes"] == 0
            assert gpu_ns + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]
            assert sum(p["kernels"] for p in device["processes"]) >= 20 * 6
            assert all(p["ended"] for p in device["processes"])
