"""`gshare run` is a prefix like `nice`: what runs is the program, and nothing else changes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.shim import LIBRARY

from .conftest import GSHARE, Home

MIB = 1 << 20
WHERE = ([], ["--sim"], ["--sim", "--mem", "2G", "--compute", "50%"])
IDS = ("plain", "sim", "limited")


@pytest.mark.parametrize("options", WHERE, ids=IDS)
def test_the_exit_code_is_the_programs(home: Home, options: list[str]) -> None:
    for code in (0, 1, 7, 124, 255):
        result = home.gshare("run", *options, "sh", "-c", f"exit {code}")
        assert (result.returncode, result.stderr) == (code, "")


@pytest.mark.parametrize("options", WHERE, ids=IDS)
def test_the_process_is_the_programs(home: Home, options: list[str]) -> None:
    child = home.start("run", *options, "--", "sh", "-c", "echo $$; kill -TERM $$")
    output, errors = child.communicate(timeout=60)
    assert int(output) == child.pid
    assert (child.returncode, errors) == (-signal.SIGTERM, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_go_to_the_program(home: Home, number: int) -> None:
    handle = f"import signal, sys; signal.signal({number}, lambda *_: sys.exit(42))"
    script = f"{handle}; print(flush=True); signal.pause()"
    child = home.start("run", "--sim", "--mem", "2G", sys.executable, "-c", script)
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(number)
    assert child.wait(60) == 42


def test_arguments_reach_the_program_as_they_are(home: Home) -> None:
    words = ["--mem", "-x", "a b", "", "--", "*", "$HOME", "--sim"]
    script = "import sys; print(sys.argv[1:])"
    for separator in ([], ["--"]):
        result = home.gshare("run", "--sim", *separator, sys.executable, "-c", script, *words)
        assert result.stdout == f"{words}\n"


@pytest.mark.parametrize("options", WHERE, ids=IDS)
def test_the_environment_and_the_signal_dispositions_are_left_alone(home: Home, options: list[str]) -> None:
    """Compared with `env` before the same program: only what gshare documents is added."""
    look = "env; grep -E 'Sig[BIC]' /proc/self/status; umask; ulimit -a; pwd; ls /proc/self/fd | wc -l"
    show = ["sh", "-c", look]
    environment = {**home.environment, "LC_ALL": "C"}
    environment.pop("LC_CTYPE", None)
    command = {"env": environment, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    plain = subprocess.run(["env", *show], check=True, **command).stdout.splitlines()  # type: ignore[call-overload]
    found = home.gshare("run", *options, *show, env=environment).stdout.splitlines()
    ours = ("LD_PRELOAD=", "LD_LIBRARY_PATH=", "GSHARE_TENANT_DIR=", "SIMGPU_MACHINE=", "_=")
    assert [line for line in found if not line.startswith(ours)] == [
        line for line in plain if not line.startswith(ours)
    ]


def test_a_pipe_ends_with_the_program_although_the_controller_stays(home: Home) -> None:
    result = subprocess.run(
        f"{' '.join(GSHARE)} run --sim --mem 2G yes | head -1",
        shell=True,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("y\n", "")


def test_the_program_finds_no_child_that_it_did_not_make(home: Home) -> None:
    script = "import os\ntry: os.wait()\nexcept ChildProcessError: print('none')"
    assert home.gshare("run", "--sim", "--mem", "2G", sys.executable, "-c", script).stdout == "none\n"


def test_a_preloaded_library_is_kept_behind_ours(home: Home) -> None:
    environment = {**home.environment, "LD_PRELOAD": "libm.so.6"}
    result = home.gshare("run", "--sim", "--mem", "2G", "sh", "-c", "echo $LD_PRELOAD", env=environment)
    assert result.stdout == f"{LIBRARY}:libm.so.6\n"


def test_a_script_without_interpreter_line_runs_as_under_nice(home: Home) -> None:
    script = home.folder / "script"
    script.write_text('echo "$0 $1"; exit 3\n')
    script.chmod(0o755)
    result = home.gshare("run", "--sim", str(script), "a")
    assert (result.returncode, result.stdout) == (3, f"{script} a\n")


def test_a_file_that_no_kernel_runs_is_126(home: Home) -> None:
    program = home.folder / "program"
    program.write_bytes(b"\x7fELF\x02" + bytes(100))
    program.chmod(0o755)
    result = home.gshare("run", str(program))
    assert result.returncode == 126
    assert result.stderr.count("\n") == 1


def test_a_quota_holds_and_looks_like_a_smaller_gpu(home: Home) -> None:
    program = home.allocator("--mem", "1G")
    free, total = program.memory()
    assert total == 1024 * MIB
    got = program.pieces(100)
    assert got == free // (64 * MIB) < 16
    control = home.allocator()
    assert control.pieces(100) == 100  # what the quota refused, the device has
    assert control.memory()[1] > 100 * 1024 * MIB


def test_a_live_change_lets_the_program_go_on(home: Home) -> None:
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    before = program.pieces(100)
    changed = home.gshare("set", "team-a", "--mem", "2G")
    assert (changed.returncode, changed.stdout) == (0, "team-a: mem 1G -> 2G on GPU 0 (1 process)\n")
    assert program.memory()[1] == 2048 * MIB
    assert before + program.pieces(100) == before + 16
    home.gshare("set", str(program.pid), "--mem", "1G")
    assert program.memory() == (0, 1024 * MIB)
    assert program.pieces(1) == 0


def test_two_processes_of_a_tenant_share_its_quota_and_a_kill_gives_back(home: Home) -> None:
    assert home.gshare("quota", "set", "team-a", "--mem", "2G").returncode == 0
    first = home.allocator("--tenant", "team-a")
    second = home.allocator("--tenant", "team-a")
    assert first.pieces(10) == 10
    got = second.pieces(100)
    assert got + 10 < 32
    first.child.kill()
    first.child.wait()
    assert second.pieces(100) >= 10


def test_a_gpu_can_be_chosen(home: Home) -> None:
    assert home.gshare("sim", "start", "t4*2").returncode == 0
    script = (
        "import ctypes; d = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int();"
        "print(d.cuInit(0), d.cuDeviceGetCount(ctypes.byref(n)), n.value)"
    )
    result = home.gshare("run", "--sim", "--gpu", "1", "--mem", "50%", sys.executable, "-c", script)
    assert result.stdout == "0 0 1\n"
    result = home.gshare(
        "run", "--sim", "--gpu", "1", "--mem", "50%", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"
    )
    devices = home.gshare("devices").stdout
    assert result.stdout.strip() in devices.splitlines()[2]


def test_a_run_inside_a_run_stays_in_its_tenant_unless_it_asks(home: Home) -> None:
    inner = f"{' '.join(GSHARE)} run sh -c 'echo $GSHARE_TENANT_DIR'"
    result = home.gshare("run", "--sim", "--mem", "2G", "--tenant", "outer", "sh", "-c", inner)
    assert result.stdout.strip().endswith("/tenants/outer")
    inner = inner.replace("run sh", "run --sim --mem 1G sh")
    result = home.gshare("run", "--sim", "--mem", "2G", "--tenant", "outer", "sh", "-c", inner)
    assert "/tenants/sh-" in result.stdout


def test_a_dry_run_says_what_would_be_and_starts_nothing(home: Home) -> None:
    result = home.gshare("run", "--sim", "--mem", "2G", "--compute", "30%", "--dry-run", "no-such-program")
    assert result.returncode == 127
    result = home.gshare("run", "--sim", "--mem", "2G", "--compute", "30%", "--dry-run", "--", "false")
    assert result.returncode == 0
    assert "mem 2G, compute 30%" in result.stdout
    assert f"export LD_PRELOAD='{LIBRARY}'" in result.stdout
    assert not home.run_dir.exists()
    assert not home.machine.exists()
    assert home.gshare("run", "--sim", "--mem", "900G", "--dry-run", "true").returncode == 125
    assert "takes up to 528M" in home.gshare("run", "--sim", "--mem", "600M", "--dry-run", "true").stdout


def test_a_dry_run_counts_what_runs_with_and_without_controller(home: Home) -> None:
    program = home.allocator("--mem", "90%")
    program.memory()
    dry = ["run", "--sim", "--mem", "50%", "--dry-run", "true"]
    with_controller = home.gshare(*dry)
    home.gshare("controller", "stop")
    without = home.gshare(*dry)
    for result in (with_controller, without):
        assert result.returncode == 125
        assert "left to promise" in result.stderr
    assert home.gshare("status").returncode == 3


def test_limits_hold_while_the_controller_is_dead_and_the_next_one_adopts(home: Home) -> None:
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    before = program.pieces(2)
    os.kill(int((home.run_dir / "controller.lock").read_text()), signal.SIGKILL)
    free, total = program.memory()
    assert total == 1024 * MIB
    assert program.pieces(100) == free // (64 * MIB)
    assert before == 2
    assert "team-a" in home.gshare("ps").stdout
    assert home.gshare("set", "team-a", "--mem", "2G").returncode == 0
    assert program.pieces(100) == 16


def test_a_static_program_runs_free_and_is_refused_a_limit(home: Home) -> None:
    source, program = home.folder / "static.c", home.folder / "static"
    source.write_text("int main(void) { return 9; }")
    subprocess.run(["cc", "-static", "-o", program, source], check=True)
    assert home.gshare("run", "--sim", str(program)).returncode == 9
    result = home.gshare("run", "--sim", "--mem", "2G", str(program))
    assert result.returncode == 125
    assert result.stderr.startswith(f"gshare: {program}: is statically linked")
    assert home.written() == set()


def test_a_musl_program_is_refused_with_one_line(home: Home) -> None:
    program = home.folder / "musl"
    content = Path("/bin/true").read_bytes()
    here = content.index(b"/lib64/ld-linux-x86-64.so.2\0")
    musl = b"/lib/ld-musl-x86_64.so.1\0"
    program.write_bytes(content[:here] + musl + content[here + len(musl) :])
    program.chmod(0o755)
    for options in ([], ["--sim", "--mem", "2G"]):
        result = home.gshare("run", *options, str(program))
        assert result.returncode == 125
        assert result.stderr.startswith(f"gshare: {program}: is a musl program")
        assert result.stderr.count("\n") == 1
