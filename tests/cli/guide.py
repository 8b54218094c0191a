"""The README's Administrator's guide as a test reads it: sections, and the code in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"

INSTALLING = "Administrator's guide"
QUOTAS = "Quotas, ceilings and the queue"
AUDIT = "Audit, strict mode, containers and notebooks"


def sections() -> dict[str, str]:
    """Their text by their title; the guide's own beginning is the first."""
    text = README.read_text(encoding="utf-8")
    guide = re.search(rf"^## ({INSTALLING}\n.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert guide
    parts = re.split(r"^### ", guide[1], flags=re.MULTILINE)
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


def blocks(section: str, language: str) -> list[str]:
    """Its blocks of code."""
    return re.findall(rf"^```{language}\n(.*?)^```$", sections()[section], flags=re.MULTILINE | re.DOTALL)


def commands(section: str) -> list[tuple[list[str], str]]:
    """The words of each line that a shell would run, without sudo, and what is said behind it."""
    found = []
    for line in "".join(blocks(section, "sh")).splitlines():
        command, _, said = line.partition(" # ")  # a # inside a word is none
        words = shlex.split(command)
        found.append((words[1:] if words[0] == "sudo" else words, said))
    return found
