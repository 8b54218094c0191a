"""Every code that the simulated GPU returns is one that cuda.h documents for that call."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented_errors import (
    ADDITIONS,
    ASYNCHRONOUS,
    NOT_SUPPORTED,
    allowed,
    base_name,
    cuda_headers,
    documented,
    not_implemented,
)
from golden import Recorder

from gshare.shim import sim

DOCUMENTED = documented(cuda_headers())
WITH_CAPTURES = {"capture"}

needs_header = pytest.mark.skipif(not DOCUMENTED, reason="no cuda.h here (.ci/cuda-headers.sh makes some)")


@needs_header
def test_the_comments_are_read() -> None:
    assert len(DOCUMENTED) > 440
    assert DOCUMENTED["cuMemAlloc"] >= {0, 1, 2, 3, 4, 201}
    assert 100 not in DOCUMENTED["cuMemAlloc"]
    assert DOCUMENTED["cuDeviceGetCount"] == {0, 1, 3, 4, 201} | ASYNCHRONOUS
    assert 719 in DOCUMENTED["cuStreamSynchronize"]  # by \\notefnerr
    assert 905 not in allowed("cuMemAlloc_v2", DOCUMENTED)
    assert 905 in allowed("cuMemAlloc_v2", DOCUMENTED, capturing=True)


@needs_header
def test_nothing_is_added_that_is_documented() -> None:
    added = {(name, code) for name, codes in ADDITIONS.items() for code in codes}
    assert {(name, code) for name, code in added if code in DOCUMENTED[name]} == set()


@needs_header
@pytest.mark.parametrize("profile", ["h200", "t4"])
def test_every_code_is_documented_for_its_call(recorder: Recorder, profile: str) -> None:
    missing = not_implemented(Path(sim.LIBRARY_DIR, "libcuda.so.1"))
    assert "cuDeviceGetNvSciSyncAttributes" in missing
    assert "cuMemAlloc_v2" not in missing
    undocumented = set()
    for row in recorder.run(profile)["rows"]:
        call, code = row["call"], row["code"]
        expected = allowed(call, DOCUMENTED, capturing=row["group"] in WITH_CAPTURES)
        if call in missing:
            expected |= {NOT_SUPPORTED}
        if code not in expected:
            undocumented.add((base_name(call), code, f"{row['group']}: {row['case']}"))
    assert sorted(undocumented) == []
