"""The machine-wide service: what is installed, started, asked, upgraded and told to systemd."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from users import needs_root

from gshare.controller import config_file, install
from gshare.controller.lock import controller_lives, controller_pid

from .conftest import GSHARE, Home


@pytest.fixture
def root(home: Home) -> Path:
    """A system that gshare has been installed into."""
    base = home.folder / "root"
    done = home.gshare("controller", "install", "--root", str(base))
    assert done.returncode == 0, done.stderr
    return base


def test_all_files_are_there_and_nobody_else_can_write_them(root: Path) -> None:
    for file in install.files():
        path = root / file.path
        assert path.read_text() == file.content
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_configuration_that_is_there_is_kept(root: Path, home: Home) -> None:
    mine = root / install.CONFIGURATION
    mine.write_text("# mine\n")
    (root / "etc/sysusers.d/gshare.conf").write_text("old")
    done = home.gshare("controller", "install", "--root", str(root))
    assert mine.read_text() == "# mine\n"
    assert f"kept {mine}" in done.stdout
    assert (root / "etc/sysusers.d/gshare.conf").read_text() == install.SYSUSERS


def test_the_configuration_is_a_good_one(root: Path) -> None:
    config, wrong = config_file.read(root / install.CONFIGURATION)
    assert config is not None, wrong
    assert not [one for one in wrong if one.fatal]  # the groups may not be there yet
    assert config.administrators.groups == ["gshare-admin"]


def test_what_is_commented_out_in_it_is_good_too(tmp_path: Path) -> None:
    lines = install.CONFIGURED.splitlines()
    begun = next(i for i, line in enumerate(lines) if "memory-overcommit" in line)
    examples = [line.removeprefix("# ") for line in lines[begun:] if not line.endswith((":", ","))]
    text = "\n".join([*lines[:begun], *examples])
    (tmp_path / "gshare.toml").write_text(text)
    config, wrong = config_file.read(tmp_path / "gshare.toml")
    assert config is not None, [str(one) for one in wrong]
    assert list(config.tenants) == ["team-a"]


def test_a_dry_run_writes_nothing(home: Home) -> None:
    base = home.folder / "root"
    done = home.gshare("controller", "install", "--root", str(base), "--dry-run")
    assert "ExecStart=" in done.stdout
    assert not base.exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_unit(root: Path) -> None:
    unit = root / "etc/systemd/system" / install.SERVICE
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if install.SERVICE in line], done.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="there is no systemd-sysusers")
def test_the_groups_are_made(root: Path) -> None:
    subprocess.run(["systemd-sysusers", f"--root={root}"], check=True, capture_output=True, timeout=60)
    groups = {line.split(":")[0] for line in (root / "etc/group").read_text().splitlines()}
    assert {"gshare", "gshare-admin"} <= groups


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="there is no systemd-tmpfiles")
@needs_root
def test_the_directory_says_that_there_is_a_controller_for_all(root: Path) -> None:
    made = ["systemd-tmpfiles", f"--root={root}", "--create", "gshare.conf"]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    assert (root / "run/gshare" / "machine-wide").exists()
    assert (root / "run/gshare").stat().st_mode & 0o777 == 0o755


# -------- without systemd --------


@pytest.fixture
def machine_wide(home: Home) -> Home:
    """A machine-wide controller, started by hand."""
    done = home.gshare("controller", "start", "--machine-wide")
    assert done.returncode == 0, done.stderr
    return home


@needs_root
def test_it_starts_tells_what_it_is_and_stops(machine_wide: Home) -> None:
    shown = machine_wide.gshare("controller", "status")
    assert shown.stdout.startswith("controller of all users: pid ")
    assert machine_wide.gshare("controller", "stop").returncode == 0
    gone = machine_wide.gshare("controller", "status")
    assert gone.returncode == 3
    assert gone.stderr == "gshare: the machine's controller: does not run (systemctl start gshare, as root)\n"
    assert machine_wide.gshare("controller", "start").returncode == 0  # it knows whose it was
    assert "of all users" in machine_wide.gshare("controller", "status").stdout


@needs_root
def test_an_upgrade_keeps_programs_and_their_limits(machine_wide: Home) -> None:
    program = machine_wide.allocator("--tenant", "train", "--mem", "2G")
    program.memory()  # it has begun
    before = machine_wide.gshare("ps", "--json").stdout
    old = controller_pid(machine_wide.run_dir / "controller.lock")
    done = machine_wide.gshare("controller", "upgrade")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 tenants go on\n")
    new = controller_pid(machine_wide.run_dir / "controller.lock")
    assert new != old
    assert program.pieces(100) < 32
    for text in (before, machine_wide.gshare("ps", "--json").stdout):
        assert f'"pid": {program.pid}' in text or f'"pid":{program.pid}' in text
    assert machine_wide.gshare("set", "train", "--mem", "3G").returncode == 0


@needs_root
def test_who_asks_during_an_upgrade_waits(machine_wide: Home) -> None:
    pid = controller_pid(machine_wide.run_dir / "controller.lock")
    assert pid
    os.kill(pid, signal.SIGKILL)
    asking = machine_wide.start("status")
    time.sleep(0.3)
    assert machine_wide.gshare("controller", "start").returncode == 0
    assert asking.wait(30) == 0


def test_it_tells_systemd_that_it_is_ready_and_alive(home: Home) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="gshare-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(f"{folder}/notify")
        systemd.settimeout(20)
        environment = {**home.environment, "NOTIFY_SOCKET": f"{folder}/notify"}
        command = [*GSHARE, "controller", "start", "--foreground"]
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert systemd.recv(100) == b"READY=1"
            assert controller_lives(home.run_dir / "controller.lock")
            assert systemd.recv(100) == b"WATCHDOG=1"
            child.terminate()
            while (last := systemd.recv(100)) == b"WATCHDOG=1":
                continue
            assert last == b"STOPPING=1"
        finally:
            child.kill()
            child.wait()


def test_a_key_is_made_once(home: Home) -> None:
    home.environment["XDG_CONFIG_HOME"] = str(home.folder / "config")
    first, again = (home.gshare("controller", "key").stdout for _ in range(2))
    assert (len(first), first) == (65, again)
    assert home.gshare("controller", "key", "--server").stdout != first


def test_another_machine_is_asked_instead(home: Home) -> None:
    home.environment["XDG_CONFIG_HOME"] = str(home.folder / "config")
    done = home.gshare("--host", "tcp://127.0.0.1", "ps")
    assert (done.returncode, "tcp://NAME:PORT#KEY" in done.stderr) == (2, True)
