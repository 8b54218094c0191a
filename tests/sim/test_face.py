"""Python's view of the simulator: environment, start, stat, stop, and mistakes told in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.shim import sim


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "folder" / "machine")


def test_the_libraries_are_there_and_the_unversioned_name_leads_to_the_driver() -> None:
    for name in ("libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1"):
        assert os.path.isfile(f"{sim.LIBRARY_DIR}/{name}")
    code = f"import ctypes; print(ctypes.CDLL('{sim.LIBRARY_DIR}/libcuda.so').cuDriverGetVersion(None))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "1\n"
    )


def test_the_environment_puts_the_simulator_first_and_once(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/first::{sim.LIBRARY_DIR}:/second")
    assert sim.environment(path, "h200*2") == {
        "LD_LIBRARY_PATH": f"{sim.LIBRARY_DIR}:/first:/second",
        "SIMGPU_MACHINE": path,
        "SIMGPU_PROFILE": "h200*2",
    }
    monkeypatch.delenv("LD_LIBRARY_PATH")
    monkeypatch.setenv("SIMGPU_MACHINE", "/elsewhere")
    assert sim.environment() == {"LD_LIBRARY_PATH": sim.LIBRARY_DIR, "SIMGPU_MACHINE": "/elsewhere"}


def test_a_machine_has_the_devices_of_its_profile_until_it_is_stopped(path: str) -> None:
    sim.start(path, "h200*2,t4")
    truth = sim.stat(path)
    assert truth["schema"] == "gshare/sim/v1"
    assert [device["profile"] for device in truth["devices"]] == ["h200", "h200", "t4"]
    assert [device["index"] for device in truth["devices"]] == [0, 1, 2]
    assert len({device["uuid"] for device in truth["devices"]}) == 3
    for device in truth["devices"]:
        assert device["elapsed_ns"] == device["idle_ns"] > 0
        assert (device["used_bytes"], device["switch_ns"], device["switches"], device["processes"]) == (
            0,
            0,
            0,
            [],
        )
    sim.start(path)
    sim.start(path, "h200,h200,t4")
    sim.stop(path)
    assert not os.path.exists(path)
    sim.stop(path)


@pytest.mark.parametrize("profile", ["h100", "h200*0", "h200*", "h200*x", "h200,,t4", "t4*17"])
def test_an_unknown_profile_is_refused_by_name(profile: str, path: str) -> None:
    for what in (sim.environment, sim.start):
        with pytest.raises(sim.SimulationError, match=f"^{re.escape(profile)}: "):
            what(path, profile)
    assert not os.path.exists(path)


def test_another_profile_than_the_running_one_is_refused(path: str) -> None:
    sim.start(path, "l4")
    with pytest.raises(sim.SimulationError, match=r"^t4: .* l4 "):
        sim.start(path, "t4")
    sim.stop(path)


def test_what_is_no_machine_is_left_alone_and_named(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    with pytest.raises(sim.SimulationError, match="no simulated machine"):
        sim.stat(path)
    Path(path).write_bytes(b"something of the user's")
    for what in (sim.stat, sim.start):
        with pytest.raises(sim.SimulationError, match=path):
            what(path)
    assert Path(path).read_bytes() == b"something of the user's"


def test_a_program_on_what_is_no_machine_gets_an_error_and_one_line(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b"x")
    code = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **sim.environment(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) not in (0, 100)
    assert done.stderr.count("\n") == 1
    assert path in done.stderr
