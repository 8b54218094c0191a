"""Bad input: one line on stderr with the value and the way out, the documented code, nothing written."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from gshare.shim import abi

from .conftest import Home

RUN = (
    # options of run, what the line says
    (
        ["--mem", "8GB"],
        "--mem 8GB: GB means 10^9 bytes to some and 2^30 to others (write 8G for 8 x 2^30 bytes)",
    ),
    (["--mem", "0"], "--mem 0: a size must be above zero (as 512M or 8G)"),
    (["--mem", "-1G"], "--mem -1G: a size must be above zero (as 512M or 8G)"),
    (
        ["--mem", "much"],
        "--mem much: not a size (bytes, or with K, M, G, T, as 8G; or a part of what there is, as 30%)",
    ),
    (["--mem", "30.5.1%"], "--mem 30.5.1%: not a percentage (as 30% or 12.5%)"),
    (["--mem", "500G"], "--mem 500G: is more than GPU 0 has (139.8G) (try --mem 100%)"),
    (["--mem", "100M"], "--mem 100M: is less than one context takes on GPU 0 (528M) (ask for more)"),
    (["--compute", "0.3"], "--compute 0.3: a percentage is meant here (did you mean 30% or --share 0.3)"),
    (["--compute", "30.5.1%"], "--compute 30.5.1%: not a percentage (as 30% or 12.5%)"),
    (["--compute", "0"], "--compute 0: a share must be above zero (as 30%)"),
    (["--compute", "-5%"], "--compute -5%: a share must be above zero (as 30%)"),
    (["--compute", "101%"], "--compute 101%: more than there is (100% at most)"),
    (
        ["--compute", "60%..30%"],
        "--compute 60%..30%: the guarantee is above the ceiling (as 30%..60%)",
    ),
    (["--share", "30%"], "--share 30%: a fraction is meant here (did you mean --share 0.3)"),
    (["--share", "2"], "--share 2: a fraction must be above 0 and at most 1 (as 0.3)"),
    (["--share", "0.5", "--mem", "8G"], "--share 0.5: --mem 8G is given too (--share sets both)"),
    (["--gpu", "7"], "--gpu 7: no such GPU; there is 0 (see gshare devices)"),
    (["--gpu", "GPU-00000000"], "--gpu GPU-00000000: no such GPU; there is 0 (see gshare devices)"),
    (["--gpu", "first"], "--gpu first: 'first' is neither an index nor a UUID (see gshare devices)"),
    (
        ["--tenant", "../x", "--mem", "8G"],
        "--tenant ../x: not a tenant's name (letters, digits, '.', '_' and '-', at most 63, as team-a)",
    ),
    (
        ["--tenant", "nobody"],
        "--tenant nobody: no such tenant"
        " (give --mem, --compute or --host-mem, or first gshare quota set nobody --mem SIZE)",
    ),
    (["--compute", "30%.."], "--compute 30%..: not a percentage (as 30%..60%)"),
    (["--weight", "0"], "--weight 0: not a weight (a whole number from 1 to 1000)"),
    (
        ["--weight", "3", "--compute", "30%"],
        "--weight 3: a hard cap of 30% borrows nothing that a weight could divide"
        " (give a range, as 30%..100%, or only the weight)",
    ),
    (["--priority", "urgent"], "--priority urgent: not one of high, normal and low"),
    (["--mode", "turn"], "--mode turn: not one of auto, concurrent and turns"),
    (["--wait=long"], "--wait long: not a number of seconds (as --wait=60, or --wait alone)"),
    (["--placement", "here"], "--placement here: not one of all, best-fit and spread"),
    (["--nonsense"], "run: No such option '--nonsense'. (gshare run --help)"),
    (["--json"], "run --json: the output is the program's (with --dry-run it prints the decision)"),
)


@pytest.mark.parametrize(("options", "line"), RUN, ids=lambda value: " ".join(value)[:30])
def test_run_refuses_with_125(home: Home, options: list[str], line: str) -> None:
    result = home.gshare("run", "--sim", *options, "--", "true")
    assert (result.returncode, result.stdout, result.stderr) == (125, "", f"gshare: {line}\n")
    assert home.written() == set()


def test_an_unknown_simulated_device_is_refused(home: Home) -> None:
    result = home.gshare("run", "--sim=h900", "true")
    assert result.returncode == 125
    assert result.stderr.startswith("gshare: --sim=h900: h900: no such simulated device")
    assert result.stderr.count("\n") == 1
    assert not home.machine.exists()


def test_another_profile_than_the_one_that_runs_is_refused(home: Home) -> None:
    assert home.gshare("sim", "start", "t4").returncode == 0
    result = home.gshare("run", "--sim=h200", "true")
    assert result.returncode == 125
    assert "t4 (gshare sim stop ends it)" in result.stderr
    assert home.gshare("run", "--sim", "true").returncode == 0


OTHERS = (
    (["set", "nobody", "--mem", "8G"], 5, "set nobody: no tenant of this name runs (see gshare ps)"),
    (["set", "1", "--mem", "8G"], 5, "set 1: no process of a tenant has this pid (see gshare ps)"),
    (
        ["set", "nobody"],
        2,
        "nothing to set: no limit is given (as --mem 8G --compute 30%)",
    ),
    (["set", "nobody", "--mem", "8GB"], 2, "--mem 8GB: GB means 10^9 bytes to some and 2^30 to others"),
    (["quota", "set", "a", "--compute", "0.3"], 2, "--compute 0.3: a percentage is meant here"),
    (["quota", "set", "a/b", "--compute", "3"], 2, "quota set a/b: not a tenant's name"),
    (["quota", "show", "a"], 5, "quota a: no such quota (see gshare quota show)"),
    (["quota", "rm", "a"], 5, "quota a: no such quota (see gshare quota show)"),
    (["quota", "show", "a\udcff"], 2, "request: a name in it is no text, or a number too large"),
    (["quota", "set", "a", "--owner", "4294967295"], 5, "--owner 4294967295: no such user (a name, or"),
    (["quota", "set", "a", "--members", "9" * 5000], 5, "--members 999"),
    (
        ["controller", "install", "--root", "/dev/null"],
        1,
        "/dev/null/etc/systemd/system/gshare.service: cann",
    ),
    (["status"], 3, "controller: does not run (gshare controller start, or any gshare run)"),
    (["controller", "stop"], 3, "controller: does not run (gshare controller start, or any gshare run)"),
    (["nonsense"], 2, "gshare: No such command 'nonsense'. (gshare --help)"),
    (["statsu"], 2, "gshare: No such command 'statsu'. Did you mean 'status'? (gshare --help)"),
    (["cdi", "generate", "--x"], 2, "cdi generate: No such option '--x'. (gshare cdi generate --help)"),
    (["ps", "--nonsense"], 2, "ps: No such option '--nonsense'. (gshare ps --help)"),
    (["sim", "start", "h900"], 1, "sim: h900: no such simulated device"),
    (["sim", "stat"], 1, "sim: "),
)


@pytest.mark.parametrize(("arguments", "code", "line"), OTHERS, ids=lambda value: str(value)[:40])
def test_other_commands_refuse_with_their_code(
    home: Home, arguments: list[str], code: int, line: str
) -> None:
    result = home.gshare(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(f"gshare: {line}")
    assert result.stderr.count("\n") == 1
    assert home.written() == set()


def test_a_full_disk_for_what_is_printed_is_one_line(home: Home) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "gshare.cli", "schema"], check=False,
            stdout=full, stderr=subprocess.PIPE, text=True, env=home.environment,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "gshare: schema: No space left on device\n")


def test_without_a_gpu_a_limit_is_refused_and_sim_is_named(home: Home) -> None:
    for option in (["--mem", "8G"], ["--compute", "30%"], ["--share", "0.5"], ["--gpu", "0"]):
        result = home.gshare("run", *option, "true")
        assert result.returncode == 125
        assert result.stderr.startswith(
            f"gshare: {'--mem 50%' if option[0] == '--share' else ' '.join(option)}: "
        )
        assert "there is no GPU on this machine (--sim" in result.stderr
    assert home.written() == set()


def test_a_program_that_does_not_exist_is_127_before_anything_else(home: Home) -> None:
    for name in ("no-such-program", "./no-such-program", "/"):
        result = home.gshare("run", "--sim", "--mem", "8G", name)
        assert result.returncode == (126 if name == "/" else 127)
        assert result.stderr.startswith(f"gshare: {name}: ")
        assert result.stderr.count("\n") == 1
    assert not home.run_dir.exists()  # not even a controller was started


def test_a_program_that_is_not_executable_is_126(home: Home) -> None:
    script = home.folder / "script"
    script.write_text("exit 0\n")
    script.chmod(0o644)
    result = home.gshare("run", "--sim", "--mem", "8G", str(script))
    assert result.returncode == 126
    assert result.stderr == f"gshare: {script}: not executable (chmod +x, or name its interpreter)\n"
    assert not home.run_dir.exists()


def test_a_socket_path_too_long_is_refused(home: Home) -> None:
    environment = {**home.environment, "GSHARE_RUNTIME_DIR": "/tmp/" + "x" * 100}
    for arguments, code in ((["run", "--sim", "--mem", "8G", "true"], 125), (["ps"], 1)):
        result = home.gshare(*arguments, env=environment)
        assert result.returncode == code
        assert "socket path too long: 121 bytes, 107 at most (GSHARE_RUNTIME_DIR names" in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", "version"])
def test_a_tenant_with_unusable_files_is_refused_by_name(home: Home, damage: bytes | str) -> None:
    first = home.allocator("--mem", "2G", "--tenant", "team-a")
    assert first.memory()[1] == 2 << 30
    home.gshare("controller", "stop")
    limits = home.run_dir / "tenants" / "team-a" / "limits"
    content = bytearray(limits.read_bytes())
    content[8] += 1  # the ABI's version
    limits.unlink()
    limits.write_bytes(content if isinstance(damage, str) else damage)
    result = home.gshare("run", "--sim", "--mem", "2G", "--tenant", "team-a", "true")
    assert result.returncode == 125
    assert result.stderr.startswith("gshare: tenant team-a: ")
    assert str(limits) in result.stderr
    assert result.stderr.count("\n") == 1
    if damage == "version":
        assert f"version {abi.VERSION + 1}, where this gshare is of version {abi.VERSION}" in result.stderr
    assert home.gshare("run", "--sim", "--mem", "2G", "true").returncode == 0  # nobody else is concerned


def test_a_full_disk_refuses_the_run_and_leaves_nothing(home: Home) -> None:
    """A full disk is played by a limit on the size of the files that the controller may write."""
    assert home.gshare("run", "--sim", "--mem", "2G", "true").returncode == 0
    pid = int((home.run_dir / "controller.lock").read_text())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
    for options in ([], ["--tenant", "team-a"]):
        result = home.gshare("run", "--sim", "--mem", "2G", *options, "true")
        assert result.returncode == 125
        assert result.stderr.startswith(f"gshare: {home.run_dir}/tenants/")
        assert "cannot be written: " in result.stderr
        assert result.stderr.count("\n") == 1
    assert list((home.run_dir / "tenants").iterdir()) == []
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 64 << 10))
    result = home.gshare("quota", "set", "team-a", "--mem", "2G")
    assert result.returncode == 1
    assert "gshare.sqlite: cannot be written: " in result.stderr
    assert [path for path in home.state_dir.rglob("*") if path.is_file()] == []


def test_a_controller_that_cannot_be_had_refuses_a_limit_and_lets_the_rest_run(home: Home) -> None:
    home.run_dir.write_text("in the way")
    result = home.gshare("run", "--sim", "--mem", "2G", "true")
    assert result.returncode == 125
    assert result.stderr.startswith(f"gshare: {home.run_dir}: cannot be made: ")
    assert result.stderr.count("\n") == 1


def test_a_controller_that_hangs_is_named(home: Home) -> None:
    assert home.gshare("controller", "start").returncode == 0
    pid = int((home.run_dir / "controller.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    result = home.gshare("ps")
    os.kill(pid, signal.SIGKILL)
    assert result.returncode == 3
    assert f"pid {pid} does not answer" in result.stderr
    assert result.stderr.count("\n") == 1
