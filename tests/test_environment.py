"""Every variable that programs read is in the documentation, and none besides."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = re.compile(r"\b(?:GSHARE|SIMGPU)_[A-Z][A-Z_]*\b")
LAYERS = ("shim", "controller", "cli", "benchmarks")
CODE = {".c", ".h", ".py", ".pyx", ".pxi"}
READERS = [path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.suffix in CODE]


def variables(*paths: Path) -> set[str]:
    return {name for path in paths for name in VARIABLE.findall(path.read_text())}


def quoted(path: Path) -> set[str]:
    """As a program names them: a hook's macro has such a name, too."""
    return {text for text in re.findall(r'"([A-Z_]+)"', path.read_text()) if VARIABLE.fullmatch(text)}


def test_variables_are_documented() -> None:
    read = {name for path in READERS for name in quoted(path)}
    assert {"GSHARE_TENANT_DIR", "SIMGPU_MACHINE"} <= read
    assert read == variables(ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
