"""Results made elsewhere, as `gshare bench compare` and `report` take them; who may write to a folder."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
from pathlib import Path

import pytest

from gshare.benchmarks.suite import arms, command
from gshare.benchmarks.suite.run import Wanted
from gshare.controller.errors import GshareError, UsageError

RESULT = next(Path(__file__).resolve().parents[2].glob("benchmarks/results/*-suite-simulated/result.json"))


def bench(*names: str, output: Path | None = None) -> int:
    return command.main(argparse.Namespace(names=list(names), output=output))


def test_a_result_of_elsewhere_has_a_page_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from gshare.benchmarks.suite import pictures

    monkeypatch.setattr(pictures, "PICTURES", pictures.PICTURES[4:5])  # all: test_suite_run, soak
    assert bench("report", str(RESULT.parent), output=tmp_path / "new") == 0
    assert "new/report.html" in capsys.readouterr().out
    assert (tmp_path / "new" / "scaling-light.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "new" / "report.html").read_text()
    assert "http" not in page.replace("data:image", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema": "gshare/bench/v2"}', "gshare/bench/v2.*this gshare reads gshare/bench/v1"),
        ('{"schema": "gshare/bench/v1", "bench": "suite", "sim', "truncated"),
        ("", "truncated"),
        ("[1, 2]", "is no result of a run"),
    ],
)
def test_what_is_no_result_is_said_to_be_none(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    for names in (("report", str(path)), ("compare", str(RESULT), str(path))):
        with pytest.raises(GshareError, match=why) as found:
            bench(*names)
        assert "\n" not in str(found.value)


def test_a_result_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GshareError, match=r"bench report: .*/none\.json: No such file"):
        bench("report", str(tmp_path / "none.json"))
    (tmp_path / "file").touch()
    with pytest.raises(GshareError, match=r"bench report: .*/file.*: (File exists|Not a directory)"):
        bench("report", str(RESULT), output=tmp_path / "file")
    for names in (("report",), ("compare", str(RESULT))):
        with pytest.raises(UsageError):
            bench(*names)


def test_runs_that_cannot_be_held_against_each_other_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = json.loads(RESULT.read_text())
    other["machine"]["host"], other["revision"] = "elsewhere", "another-one"
    other["options"]["rivals"]["hami"] = "0" * 64
    path = tmp_path / "result.json"
    path.write_text(json.dumps(other))
    assert bench("compare", str(RESULT), str(tmp_path)) == 0
    said = capsys.readouterr().out
    for what in ("not the same machine", "not the same hami", "after: another-one"):
        assert what in said
    assert bench("compare", str(RESULT), str(RESULT)) == 0
    assert "not the same" not in capsys.readouterr().out


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    wanted = Wanted(["memory"], arms.arms(["native"], [], True), 1, True, tmp_path)
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(GshareError, match="another run writes to"), command._alone(wanted):
        pass
    os.close(holder)
    with command._alone(wanted):
        pass


def test_two_runs_do_not_start_rivals_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RIVALS", f"\0gshare-bench-{tmp_path}"[:100])
    library = tmp_path / "libvgpu.so"
    library.touch()
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    one, another = (
        Wanted([], arms.arms([], [f"hami={library}"], True), 1, True, folder) for folder in folders
    )
    refused = pytest.raises(GshareError, match="another run has rivals")
    with command._alone(one), refused, command._alone(another):
        pass
