"""The recorder, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from golden import Recorder, build


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    folder: Path = tmp_path_factory.mktemp("recorder")
    return Recorder(build(folder / "recorder"), folder)
