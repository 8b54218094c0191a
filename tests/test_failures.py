"""Each row of docs/failures.md says closed or open, and names tests that exist and are run by default."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "failures.md"
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Their cells, without the header's."""
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def by_default(file: str) -> set[str]:
    """The tests of a file but for those that only run when they are asked for."""
    body = ast.parse((TESTS / file).read_text()).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if not any("mark.soak" in ast.unparse(d) for d in f.decorator_list)}


def test_there_are_rows() -> None:
    assert len(rows()) >= 25


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_is_shown(row: list[str]) -> None:
    _, answer, _, shown = row
    assert re.match("(closed|open)\\b", answer)
    named = TEST.findall(shown)
    assert len(named) == shown.count("`") // 2 > 0
    for file, test in named:
        assert test in by_default(file), f"{file}::{test}"
