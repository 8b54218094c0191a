"""The administrator's guide of the README: each of its commands is run, and its configuration is one.

The line about podman is run by test_containers.py.
"""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from users import needs_root

from gshare.controller.config_file import parse

from .conftest import Home
from .guide import AUDIT, INSTALLING, QUOTAS, blocks, commands, sections

SIM_AT = {"run": 2, "env": 2, "kernelspec": 3, "cdi": 3}
"""Where commands that look for a GPU are told to simulate one."""

CLIENTS = "clients"


def run(home: Home, words: list[str]) -> str:
    """One line of the guide."""
    assert words[0] == "gshare"
    if at := SIM_AT.get(words[1]):
        words = [*words[:at], "--sim", *words[at:]]
    told = home.gshare(*words[1:])
    assert told.returncode == 0, (words, told.stderr)
    return told.stdout


def test_no_section_of_the_guide_is_left_out() -> None:
    assert list(sections()) == [INSTALLING, QUOTAS, AUDIT]


@needs_root
def test_each_command_of_installing_works(home: Home) -> None:
    root = home.folder / "root"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    home.environment["XDG_CONFIG_HOME"] = str(home.folder / "config")
    home.environment["GSHARE_LISTEN"] = f"tcp://{address}"
    told: list[str] = []
    for line, said in commands(INSTALLING):
        words = line
        if words[:3] == ["gshare", "controller", "install"]:
            words = [*words, "--root", str(root)]
        if words[0] == "systemctl":
            enabled(root, words)
            words = said.partition("without systemd: sudo ")[2].split()
        if "--host" in words:
            mine, servers = (key.strip() for key in told[-2:])
            (home.state_dir / CLIENTS).write_text(f"{mine} root\n")
            words = [word.replace("gpu1:9446", address).replace("KEY", servers) for word in words]
        if words[0] == "/opt/gshare/bin/python":
            pages = root / words[-1].lstrip("/")
            subprocess.run([sys.executable, *words[1:-1], str(pages)], check=True, env=home.environment)
            assert (pages / "gshare-controller-install.1").exists()
        else:
            told.append(run(home, words))
    assert len(told) >= 7
    assert told[2].startswith("controller of all users: pid ")


def enabled(root: Path, words: list[str]) -> None:
    """As far as systemd does it for a system that does not run."""
    assert words == ["systemctl", "enable", "--now", "gshare"]
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", f"--root={root}", "enable", "gshare"], check=True, capture_output=True)
        assert (root / "etc/systemd/system/multi-user.target.wants/gshare.service").is_symlink()


def test_the_configuration_is_one() -> None:
    (text,) = blocks(QUOTAS, "toml")
    config, wrong = parse(text)
    assert wrong == []
    assert config is not None
    assert list(config.tenants) == ["team-c"]
    assert len(config.users) == 2


def test_each_command_about_quotas_works(home: Home) -> None:
    (text,) = blocks(QUOTAS, "toml")
    file = home.folder / "gshare.toml"
    file.write_text(text)
    home.environment["GSHARE_CONFIG"] = str(file)
    lines = commands(QUOTAS)
    assert len(lines) >= 14
    for words, _ in lines:
        run(home, words)
    shown = home.gshare("quota", "show").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["TENANT", "team-a", "team-c"]


@needs_root
def test_each_command_about_the_audit_works(home: Home) -> None:
    pytest.importorskip("ipykernel")
    home.environment["JUPYTER_DATA_DIR"] = str(home.folder / "jupyter")
    lines = [words for words, _ in commands(AUDIT) if "podman" not in words]
    assert len(lines) >= 6
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    program.memory()
    for words in lines:
        run(home, [word.replace("/etc/cdi", f"{home.folder}/cdi") for word in words])
    assert (home.folder / "cdi" / "gshare.json").exists()


def test_a_changed_file_is_in_force_within_a_second_and_a_faulty_one_is_not(home: Home) -> None:
    file = home.folder / "gshare.toml"
    home.environment["GSHARE_CONFIG"] = str(file)
    file.write_text("[defaults]\nmem = '2G'\n")

    def granted() -> str:
        return home.gshare("run", "--sim", "--dry-run", "true").stdout.splitlines()[1]

    assert home.gshare("run", "--sim", "true").returncode == 0
    assert "mem 2G" in granted()
    file.write_text("[defaults]\nmem = '3GB'\n")
    result = home.gshare("controller", "reload")
    assert result.returncode == 1
    assert result.stdout.startswith(f"{file}: line 2: defaults.mem: 3GB: GB means 10^9 bytes to some")
    assert "mem 2G" in granted()
    assert f"{file} is not taken over; line 2: defaults.mem" in home.gshare("events").stdout
    home.gshare("controller", "stop")
    assert home.gshare("run", "--sim", "true").returncode == 0  # the next one has what was in force
    assert "mem 2G" in granted()
    file.write_text("[defaults]\nmem = '3G'\n")
    assert home.gshare("controller", "reload").returncode == 0
    assert "mem 3G" in granted()
