"""Benchmarks run over a simulated machine of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gshare.cli.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(simulated=True, profile="l4") as sandbox:
        yield sandbox
