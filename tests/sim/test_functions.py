"""The list of what the simulated driver implements is the library's own; the page in docs is that list."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import ROOT, Machine

from gshare.shim.sim.functions import functions, table

NOT_SUPPORTED = 801


def test_what_nobody_wrote_answers_not_supported(machine: Machine) -> None:
    missing = [name for name, implemented in functions().items() if not implemented]
    assert missing
    answers = machine.run(f"must('cuInit', 0); out({{name: call(name) for name in {missing!r}}})")
    assert answers == dict.fromkeys(missing, NOT_SUPPORTED)


def test_what_is_written_is_said_to_be() -> None:
    listed = functions()
    assert len(listed) > 600
    assert all(listed[name] for name in ("cuInit", "cuMemAlloc_v2", "cuLaunchKernel_ptsz", "cuGraphLaunch"))


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "simulated-driver.md").read_text()
    assert page == table(), "run: python -m gshare.shim.sim.functions > docs/simulated-driver.md"


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a library")
    with pytest.raises(ValueError, match="no 64-bit ELF file"):
        functions(tmp_path / "text")
