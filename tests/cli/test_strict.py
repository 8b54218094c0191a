"""`gshare run --strict`: in the program whatever it does, with no more rights than its user has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machine_wide import everybodys

from gshare.cli import strict
from gshare.shim import LIBRARY, sim

from .conftest import GSHARE, Home

ALICE = 20001
MIB = 1 << 20
NOT_PERMITTED = 800

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs root, and the right to mount",
)

LOOK = """
import ctypes, json
cuda, total = ctypes.CDLL("libcuda.so.1"), ctypes.c_size_t()
answer = cuda.cuInit(0)
cuda.cuDeviceTotalMem_v2(ctypes.byref(total), 0)
print(json.dumps([answer, total.value]))
"""


@pytest.fixture
def looking(home: Home) -> list[str]:
    """A program that tells what cuInit answers, and how large it finds the GPU."""
    path = home.folder / "look.py"
    path.write_text(LOOK)
    return [sys.executable, str(path)]


def driver(home: Home) -> list[str]:
    """How a program in an empty environment finds the simulated GPU."""
    found = sim.environment(machine=str(home.machine))
    return [f"{name}={found[name]}" for name in ("LD_LIBRARY_PATH", "SIMGPU_MACHINE")]


@needs_root
def test_nothing_that_a_program_does_lets_go_of_gshare(home: Home, looking: list[str]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    program = " ".join(looking)
    empty = " ".join(["env", "-i", *driver(home), program])
    script = "\n".join([
        program, empty, f"unset LD_PRELOAD; {program}", f"(sh -c 'exec {empty}' &) | cat",
        f"setpriv --no-new-privs {program}", f"/lib64/ld-linux-x86-64.so.2 {program}",
        f"GSHARE_TENANT_DIR=/nonexistent {program}",
    ])  # fmt: skip
    told = home.gshare("run", "--sim", "--strict", "--mem", "2G", "sh", "-c", script)
    assert [json.loads(line) for line in told.stdout.splitlines()] == [[0, 2048 * MIB]] * 7, told
    assert told.stderr == ""
    assert Path("/proc/self/mountinfo").read_text() == before, "others see nothing of it"
    assert "libgshare" not in Path("/etc/ld.so.preload").read_text()


@needs_root
def test_a_program_can_undo_nothing(home: Home) -> None:
    attempts = [
        "echo x >/etc/ld.so.preload",
        "rm -f /etc/ld.so.preload",
        "mv /etc/ld.so.preload /etc/x",
        "umount /etc/ld.so.preload",
        "umount /run/gshare/self",
        "mount -o remount,rw,bind /etc/ld.so.preload",
        "mount --bind /dev/null /etc/ld.so.preload",
        "touch /run/gshare/lib/libgshare.so",
        "unshare -m true",
        "unshare -Urm true",
        "nsenter -t 1 -m true",
        "chroot / true",
    ]
    script = "\n".join(f"if {attempt}; then echo '{attempt}'; fi 2>/dev/null" for attempt in attempts)
    told = home.gshare("run", "--sim", "--strict", "--mem", "2G", "sh", "-c", f"{script}\necho done")
    assert (told.stdout, told.returncode) == ("done\n", 0)
    control = subprocess.run(["unshare", "-m", "sh", "-c", "unshare -Urm true"], check=False)
    assert control.returncode == 0, "without --strict one can"
    threads = "import threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()"
    told = home.gshare("run", "--sim", "--strict", "--mem", "2G", sys.executable, "-c", threads)
    assert told.stdout == "thread\n", "what is not forbidden works"


@needs_root
def test_the_program_has_its_users_identity_and_no_privilege() -> None:
    """The machine's controller is asked by the user, whose tenant it is, and not by root."""
    look = "grep -hE '^(Uid|Gid|Groups|Cap|NoNew|Seccomp:)' /proc/self/status"
    command = [*GSHARE, "run", "--sim", "--strict", "--user", str(ALICE), "--mem", "2G", "sh", "-c"]
    with everybodys() as machine:
        command.append(f"{look}; test -d /run/gshare/self; echo $?")
        child = subprocess.run(command, env=machine.environment, capture_output=True, text=True, check=False)
        assert (child.returncode, child.stderr) == (0, "")
        started = machine.events("started")
    *status, mounted = child.stdout.splitlines()
    words = {line.split(":")[0]: line.split()[1:] for line in status}
    assert words.pop("Uid") == words.pop("Gid") == [str(ALICE)] * 4
    assert words.pop("Groups") == []
    assert (words.pop("NoNewPrivs"), words.pop("Seccomp")) == (["1"], ["2"])
    assert {name: int(value, 16) for name, (value,) in words.items()} == dict.fromkeys(words, 0)
    assert len(words) == 5
    assert mounted == "0"
    assert [event["owner_uid"] for event in started] == [ALICE]


@needs_root
def test_without_the_right_to_mount_it_is_refused_in_one_line(home: Home) -> None:
    for extra in ([], ["--dry-run"]):
        command = ["setpriv", "--reuid", str(ALICE), "--regid", str(ALICE), "--clear-groups", *GSHARE]
        told = subprocess.run(
            [*command, "run", "--sim", "--strict", *extra, "true"],
            env={**home.environment, "GSHARE_RUNTIME_DIR": "/tmp/gshare-none"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (told.returncode, told.stdout) == (125, "")
        assert told.stderr.startswith("gshare: --strict: needs root or CAP_SYS_ADMIN (")
        assert told.stderr.count("\n") == 1


@needs_root
def test_what_is_confined_is_not_confined_again(home: Home) -> None:
    again = " ".join([*GSHARE, "run"])
    script = f"{again} --sim --mem 1G true; echo $?; {again} --strict true; echo $?; {again} echo inside"
    told = home.gshare("run", "--sim", "--strict", "--mem", "2G", "sh", "-c", script)
    assert told.stdout == "125\n125\ninside\n", told
    assert told.stderr.count("confined to a tenant already") == 2


def test_a_user_goes_with_strict_only(home: Home) -> None:
    told = home.gshare("run", "--sim", "--user", "root", "true")
    assert (told.returncode, told.stderr) == (125, "gshare: --user root: goes with --strict\n")


def preloaded(home: Home, looking: list[str], *environment: str) -> tuple[Any, str]:
    """What a program sees in mounts where /etc/ld.so.preload has our library, and nobody mounted a tenant."""
    if not os.path.exists("/etc/ld.so.preload"):
        Path("/etc/ld.so.preload").touch()
    named = home.folder / "preload"
    named.write_text(f"{LIBRARY}\n")
    mounts = f"mount --bind {named} /etc/ld.so.preload"
    program = " ".join(["env", "-i", *driver(home), *environment, *looking])
    command = ["unshare", "-m", "sh", "-c", f"{mounts}; exec {program}"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return json.loads(told.stdout)[0], told.stderr


@needs_root
def test_who_is_preloaded_and_nobody_is_refused(home: Home, looking: list[str], tmp_path: Path) -> None:
    assert home.gshare("sim", "start").returncode == 0
    answer, errors = preloaded(home, looking)
    assert answer == NOT_PERMITTED
    assert errors.startswith("gshare: /etc/ld.so.preload: no tenant is mounted at /run/gshare/self (")
    assert errors.count("\n") == 1
    with home.start("run", "--sim", "--mem", "2G", "sh", "-c", "echo $GSHARE_TENANT_DIR; read x") as child:
        assert child.stdout is not None
        directory = Path(child.stdout.readline().strip())
        assert preloaded(home, looking, f"GSHARE_TENANT_DIR={directory}") == (0, ""), "root's word"
        forged = tmp_path / "forged"
        forged.mkdir()
        for name in ("limits", "usage", "activity"):
            (forged / name).write_bytes((directory / name).read_bytes())
        os.chown(forged / "limits", ALICE, ALICE)
        assert preloaded(home, looking, f"GSHARE_TENANT_DIR={forged}")[0] == NOT_PERMITTED
        child.communicate()


def test_the_filter_judges_by_call_and_flag() -> None:
    """Carried out here as the kernel does: jumps are relative, and the right arguments are loaded."""
    program = list(strict.no_user_namespaces())

    def judged(arch: int, number: int, argument: int) -> int:
        at = loaded = 0
        while True:
            code, yes, no, operand = program[at]
            if code == 0x20:
                loaded = {0: number, 4: arch, 16: argument}[operand]
            elif code == 0x06:
                return operand & 0xFFFF if operand >> 16 == 5 else 0
            else:
                holds = {0x15: loaded == operand, 0x45: bool(loaded & operand), 0x35: loaded >= operand}
                at += yes if holds[code] else no
            at += 1

    user_namespace = 0x10000000
    for arch, clone, unshare, clone3, setns in (
        (0xC000003E, 56, 272, 435, 308),
        (0x40000003, 120, 310, 435, 346),
        (0xC00000B7, 220, 97, 435, 268),
    ):
        assert [judged(arch, number, 0x11) for number in (clone, unshare, clone3, setns, 1)] == [
            0,
            0,
            38,
            1,
            0,
        ]
        assert [judged(arch, number, user_namespace | 0x11) for number in (clone, unshare, 1)] == [1, 1, 0]
        assert judged(arch, 0x40000000 + clone, user_namespace) == 38
    assert judged(1, 1, 0) == 38, "a machine that is not known"
