"""Imports point one way: cli to controller to shim; benchmarks see all, and nobody sees benchmarks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "shim": {"shim"},
    "controller": {"controller", "shim"},
    "cli": {"cli", "controller", "shim"},
    "benchmarks": {"benchmarks", "cli", "controller", "shim"},
}
FILES = [path for layer in ALLOWED for path in sorted((ROOT / layer).rglob("*.py"))]


def layers_imported(path: Path) -> set[str]:
    """The layers that a module imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {parts[1] for name in names if (parts := name.split("."))[0] == "gshare" and len(parts) > 1}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    assert layers_imported(path) <= ALLOWED[layer]


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 30
    assert layers_imported(ROOT / "cli" / "run.py") == {"cli", "controller", "shim"}
