"""The README's part on audit, strict mode, containers and notebooks: each of its commands is run."""

import os
import re
import shlex
from pathlib import Path

import pytest

from .conftest import Home

README = Path(__file__).parents[2] / "README.md"
SECTION = "### Audit, strict mode, containers and notebooks"
ON_A_GPU = ("run", "env", "kernelspec", "cdi")
SIM_AT = {"kernelspec": 3, "cdi": 3}


def test_each_command_of_the_section_works(home: Home) -> None:
    section = README.read_text(encoding="utf-8").partition(SECTION)[2]
    commands = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)[0]
    home.environment["JUPYTER_DATA_DIR"] = str(home.folder / "jupyter")
    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert len(lines) == 6
    program = home.allocator("--mem", "1G", "--tenant", "team-a")
    program.memory()
    for line in lines:
        words = [word.replace("/etc/cdi", f"{home.folder}/cdi") for word in line]
        assert words[0] == "gshare"
        if words[1] in ON_A_GPU:
            words.insert(SIM_AT.get(words[1], 2), "--sim")
        if words[1] == "run" and os.geteuid() != 0:
            continue
        if words[1] == "kernelspec":
            pytest.importorskip("ipykernel")
        result = home.gshare(*words[1:])
        assert result.returncode == 0, (words, result.stderr)
    assert (home.folder / "cdi" / "gshare.json").exists()
