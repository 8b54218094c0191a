"""Other libraries in the suite: what they are started with, their daemons, how long they are watched."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gshare.benchmarks.suite import arms, controls, rivals
from gshare.benchmarks.suite.arms import Arm
from gshare.benchmarks.suite.controls import Control
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.metrics import Found, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import effort
from gshare.controller.errors import GshareError, UsageError

MPS_DAEMON = """
import os, pathlib, socket, sys, time
folder = pathlib.Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
if len(sys.argv) == 1:
    pathlib.Path(sys.argv[0]).with_name("told").write_text(sys.stdin.read())
    sys.exit()
folder.joinpath("began").write_text(sys.argv[1])
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(str(folder / "control"))
listener.listen()
time.sleep(60)
"""


def test_what_hangs_in_one_control_is_not_tried_in_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def hangs(ground: Ground, arm: Arm) -> Control:
        tried.append(arm.name)
        raise TimeoutError("not done within 60 s")

    monkeypatch.setattr(controls, "_memory", hangs)
    hami = Arm("hami", frozenset({"memory", "compute"}))
    found = list(controls.control(cast(Ground, None), hami, [Probe(1_000_000, 30)]))
    assert [control.in_effect for control in found] == [False] * 3
    assert tried == ["hami"]
    assert found[-1].why == "its memory was not done within 60 s"


def test_turns_are_watched_for_some_of_them() -> None:
    place = SimpleNamespace(virtual=True, simulated=True)
    ground = Ground(None, place, None, quick=True)  # type: ignore[arg-type]
    nvshare = Arm("nvshare", rival=rivals.RIVALS["nvshare"])
    assert effort(ground, nvshare, tenants=4).seconds == 4 * rivals.NVSHARE_TURN_S


def test_what_acts_late_is_watched_when_it_acts() -> None:
    place = SimpleNamespace(virtual=True, simulated=True)
    probe, hami = Probe(1_000_000, 30), Arm("hami")
    ground = Ground(None, place, None, quick=True, held_after_s={("hami", probe): 2.0})  # type: ignore[arg-type]
    least = effort(ground, hami)
    assert effort(ground, Arm("gshare"), probe) == least
    late = effort(ground, hami, probe, tenants=2)
    assert least.settle_s < 2 * 2.0 < late.settle_s < late.seconds


def test_mps_needs_its_daemon_which_the_simulated_gpu_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (arm,) = arms.arms(["mps"], [], simulated=False)
    assert "is not installed" in arm.missing
    daemon = tmp_path / "nvidia-cuda-mps-control"
    daemon.write_text(f"#!{sys.executable} -S\n{MPS_DAEMON}")
    daemon.chmod(0o755)
    (simulated,), (arm,) = (arms.arms(["mps"], [], simulated) for simulated in (True, False))
    assert simulated.missing.startswith("not applicable")
    environ = arm.environment(Ask(memory_bytes=1 << 30, percent=30), tmp_path, "GPU-1")
    assert environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "30"
    assert arm.rival
    folder = Path(environ["CUDA_MPS_PIPE_DIRECTORY"])
    with rivals.daemon(arm.rival, arm.library):
        assert folder.joinpath("began").read_text() == "-f"
        again = rivals.daemon(arm.rival, arm.library)
        with pytest.raises(GshareError, match="somebody's nvidia-cuda-mps-control listens"), again:
            pass
    assert tmp_path.joinpath("told").read_text() == "quit\n"
    assert not folder.exists()


def test_a_daemon_that_ends_or_never_listens_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = tmp_path / "nvshare-scheduler"
    nvshare = replace(rivals.RIVALS["nvshare"], listens=tmp_path / "socket")
    monkeypatch.setattr(rivals, "START_S", 0.3)
    for text, said in (
        ("exit 3", "nvshare-scheduler ended with 3"),
        ("trap '' TERM; while :; do /bin/sleep 0.1; done", "does not listen at"),
    ):
        daemon.write_text(f"#!/bin/sh\n{text}\n")
        daemon.chmod(0o755)
        with pytest.raises(GshareError, match=said), rivals.daemon(nvshare, tmp_path / "libnvshare.so"):
            pass


def test_rivals_are_given_by_path(tmp_path: Path) -> None:
    library = tmp_path / "libvgpu.so"
    library.touch()
    (hami,) = arms.arms([], [f"hami={library}"], True)
    assert hami.missing == ""
    environ = hami.environment(Ask(memory_bytes=2 << 30, percent=30), tmp_path, "GPU-1")
    assert environ["LD_PRELOAD"] == environ["CUDA_REDIRECT"] == str(library)
    assert environ["CUDA_DEVICE_MEMORY_LIMIT"] == "2048m"
    assert environ["CUDA_DEVICE_SM_LIMIT"] == "30"
    assert "CUDA_DEVICE_SM_LIMIT" not in hami.environment(Ask(), tmp_path, "GPU-1")
    for *wrong, why in (
        ("nobody=/x.so", "NAME=PATH"),
        ("hami", "NAME=PATH"),
        (f"hami={tmp_path}/none.so", "is no file"),
        (f"hami={library}", f"hami={library}", "one of each"),
    ):
        with pytest.raises(UsageError, match=why):
            arms.arms([], wrong, True)
    with pytest.raises(UsageError):
        arms.arms(["nobody"], [], True)


def test_a_configuration_that_is_somebodys_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "vgpu.config"
    config.touch()
    monkeypatch.setattr(rivals, "VGPU_CONFIG", config)
    monkeypatch.setattr(rivals, "VGPU_MARK", tmp_path / "mark")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    vgpu = rivals.RIVALS["vgpu-manager"]
    assert "is somebody's" in vgpu.missing(tmp_path)
    (tmp_path / "mark").touch()
    assert vgpu.missing(tmp_path) == ""


def test_a_library_that_cannot_tell_tenants_apart_has_no_number_of_several() -> None:
    vgpu = Arm("vgpu-manager", rival=rivals.RIVALS["vgpu-manager"])
    alone = Trial("t", "g", (), lambda ground, arm, block: Found({}))
    assert replace(alone, several=True).skipped(vgpu).startswith("not applicable")
    assert not alone.skipped(vgpu)
