"""The configuration in force: taken over when its file changes, kept when that has something wrong in it."""

import os
from pathlib import Path

import pytest

from gshare.controller import settings
from gshare.controller.config import Config
from gshare.controller.errors import GshareError
from gshare.controller.paths import MACHINE_WIDE, Runtime
from gshare.controller.replies import Wrong
from gshare.controller.settings import Settings

GOOD = "[admission]\npatience = 5\n"
BAD = "[admission]\npatience = 'long'\n"


class Told:
    """Settings, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gshare.toml"
        self.changes: list[float] = []
        self.refusals: list[str] = []
        self.settings = Settings(self.file, folder / "state")
        self.settings.on_change = lambda config, notes: self.changes.append(config.admission.patience)
        self.settings.on_refusal = lambda wrong: self.refusals.append(str(wrong[0]))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_without_a_file_nothing_is_configured(told: Told) -> None:
    told.settings.start()
    told.settings.look()
    assert (told.settings.config, told.changes, told.refusals) == (Config(), [60.0], [])
    assert Settings().reload() == []


def test_a_change_is_taken_over_once(told: Told) -> None:
    told.settings.start()
    told.file.write_text(GOOD)
    for _ in range(3):
        told.settings.look()
    told.file.unlink()
    for _ in range(3):
        told.settings.look()
    assert told.changes == [60.0, 5.0, 60.0]


def test_a_file_that_is_being_written_is_not_taken_over(told: Told) -> None:
    told.file.write_text(GOOD)
    told.settings.start()
    for text in ("", GOOD[: len(GOOD) // 2], GOOD + "# more\n"):  # as editors do: cut, and written again
        told.file.write_text(text)
        told.settings.look()
        assert (told.changes, told.refusals) == ([5.0], [])
    told.settings.look()
    assert told.changes == [5.0, 5.0]


def test_a_faulty_file_keeps_the_old_one(told: Told) -> None:
    told.file.write_text(GOOD)
    told.settings.start()
    told.file.write_text(BAD)
    for _ in range(3):
        told.settings.look()
    line = "line 2: admission.patience: Expected `float`, got `str`"
    assert told.settings.config.admission.patience == 5
    assert (told.changes, told.refusals) == ([5.0], [line])
    assert [str(wrong) for wrong in told.settings.reload()] == [line]
    assert told.refusals == [line, line]


def test_the_next_controller_keeps_it_too(tmp_path: Path) -> None:
    first = Told(tmp_path)
    first.file.write_text(GOOD)
    first.settings.start()
    first.file.write_text(BAD)
    second = Told(tmp_path)
    second.settings.start()
    assert second.settings.config.admission.patience == 5
    assert len(second.refusals) == 1


def test_with_nothing_good_it_does_not_start(told: Told) -> None:
    told.file.write_text(BAD)
    with pytest.raises(GshareError, match=r"gshare.toml: line 2: .* check-config"):
        told.settings.start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_keeps_the_old_one(told: Told) -> None:
    told.file.write_text(GOOD)
    told.settings.start()
    told.file.chmod(0)
    told.settings.look()
    told.settings.look()
    assert told.changes == [5.0]
    assert "cannot be read" in told.refusals[0]


def test_what_means_less_than_it_seems_is_told(told: Told) -> None:
    notes: list[Wrong] = []
    told.settings.on_change = lambda config, wrong: notes.extend(wrong)
    told.file.write_text("[users.nobody-of-this-name]\n")
    told.settings.start()
    assert [note.fatal for note in notes] == [False]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GSHARE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    where = Runtime(tmp_path)
    assert settings.path(where) == Path("/c/gshare/gshare.toml")
    (tmp_path / MACHINE_WIDE).touch()
    assert settings.path(where) == Path("/etc/gshare/gshare.toml")
    monkeypatch.setenv("GSHARE_CONFIG", "/x.toml")
    assert settings.path(where) == Path("/x.toml")
