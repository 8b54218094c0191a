"""Where things are kept, and which places are refused."""

import os
from pathlib import Path

import pytest

from gshare.controller import paths
from gshare.controller.errors import GshareError
from gshare.controller.paths import SUN_PATH_BYTES, Runtime


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GSHARE_RUNTIME_DIR", "GSHARE_STATE_DIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_variable_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert paths.runtime().directory == tmp_path / "gshare"
    monkeypatch.setenv("GSHARE_RUNTIME_DIR", "/tmp/x")
    assert paths.runtime().directory == Path("/tmp/x")


def test_a_session_directory_that_is_gone_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert tmp_path not in paths.runtime().directory.parents


def test_the_longest_socket_path_fits_and_one_more_byte_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    room = SUN_PATH_BYTES - len("/tmp/") - len("/controller.sock")
    monkeypatch.setenv("GSHARE_RUNTIME_DIR", "/tmp/" + "x" * room)
    assert len(str(paths.runtime().socket)) == SUN_PATH_BYTES
    monkeypatch.setenv("GSHARE_RUNTIME_DIR", "/tmp/" + "x" * (room + 1))
    with pytest.raises(GshareError, match="socket path too long: 108 bytes, 107 at most"):
        paths.runtime()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving away a directory needs root")
@pytest.mark.parametrize("marked", [False, True], ids=["own", "machine"])
def test_a_directory_that_somebody_else_made_first_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, marked: bool
) -> None:
    """As in /tmp, before we come: their controller would be asked, and say what memory we map."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    squatted = tmp_path / "gshare"
    squatted.mkdir()
    if marked:
        (squatted / paths.MACHINE_WIDE).touch()
    assert paths.runtime().directory == squatted
    os.chown(squatted, 20001, 20001)
    with pytest.raises(GshareError, match="belongs to uid 20001, who is neither root nor you"):
        paths.runtime()
    squatted.rename(tmp_path / "elsewhere")
    squatted.symlink_to("/")
    os.lchown(squatted, 20001, 20001)
    with pytest.raises(GshareError, match="belongs to uid 20001"):
        paths.runtime()


def test_a_relative_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSHARE_RUNTIME_DIR", "run")
    with pytest.raises(GshareError, match="absolute"):
        paths.runtime()


def test_the_directory_is_made_for_its_user_only(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "a" / "run")
    runtime.create()
    runtime.create()
    assert runtime.directory.stat().st_mode & 0o777 == 0o700
    assert runtime.tenants.is_dir()


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chmod(tmp_path / "run", 0o777)
    with pytest.raises(GshareError, match="only this user can write"):
        Runtime(tmp_path / "run").create()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GshareError, match="only this user can write"):
        Runtime(tmp_path / "run").create()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(GshareError, match="cannot be made"):
        Runtime(tmp_path / "run").create()


def test_the_state_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.state_directory() == tmp_path / ".local" / "state" / "gshare"
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert paths.state_directory() == Path("/s/gshare")
    monkeypatch.setenv("GSHARE_STATE_DIR", "/t")
    assert paths.state_directory() == Path("/t")


def test_what_a_service_has_to_say_is_in_the_journal(tmp_path: Path) -> None:
    where = Runtime(tmp_path)
    assert where.logged == str(where.log), "one's own controller has a log there, or none yet"
    where.create(machine_wide=True)
    assert where.logged == "journalctl -u gshare"
    where.log.touch()
    assert where.logged == str(where.log), "one for all that was started by hand"
