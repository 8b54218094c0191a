"""Files are replaced whole; what is no file stays what it is."""

import os
import stat
from pathlib import Path

import pytest

from gshare.controller.errors import GshareError
from gshare.controller.files import write_text


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """As /dev/null would be, which root could replace for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    both = os.open(pipe, os.O_RDWR)
    write_text(pipe, "told\n")
    assert os.read(both, 100) == b"told\n"
    os.close(both)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("", "loop/file"):
        with pytest.raises(GshareError, match="cannot be written"):
            write_text(tmp_path / name, "text")
