"""The administrator's guide of the README: each of its commands is run, and its configuration is one."""

import re
import shlex
from pathlib import Path

from gshare.controller.config_file import parse

from .conftest import Home

README = Path(__file__).parents[2] / "README.md"
SECTION = "### Quotas, ceilings and the queue"


def blocks(language: str) -> list[str]:
    """The section's blocks of code."""
    section = README.read_text(encoding="utf-8").partition(SECTION)[2]
    section = re.split(r"^#{2,3} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def test_the_configuration_is_one() -> None:
    (text,) = blocks("toml")
    config, wrong = parse(text)
    assert wrong == []
    assert config is not None
    assert list(config.tenants) == ["team-c"]
    assert len(config.users) == 2


def test_each_command_of_the_section_works(home: Home) -> None:
    (text,) = blocks("toml")
    file = home.folder / "gshare.toml"
    file.write_text(text)
    home.environment["GSHARE_CONFIG"] = str(file)
    (commands,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert len(lines) >= 14
    for words in lines:
        assert words[0] == "gshare"
        if words[1] == "run":
            words.insert(2, "--sim")
        result = home.gshare(*words[1:])
        assert result.returncode == 0, (words, result.stderr)
    shown = home.gshare("quota", "show").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["TENANT", "team-a", "team-c"]


def test_a_changed_file_is_in_force_within_a_second_and_a_faulty_one_is_not(home: Home) -> None:
    file = home.folder / "gshare.toml"
    home.environment["GSHARE_CONFIG"] = str(file)
    file.write_text("[defaults]\nmem = '2G'\n")

    def granted() -> str:
        return home.gshare("run", "--sim", "--dry-run", "true").stdout.splitlines()[1]

    assert home.gshare("run", "--sim", "true").returncode == 0
    assert "mem 2G" in granted()
    file.write_text("[defaults]\nmem = '3GB'\n")
    result = home.gshare("controller", "reload")
    assert result.returncode == 1
    assert result.stdout.startswith(f"{file}: line 2: defaults.mem: 3GB: GB means 10^9 bytes to some")
    assert "mem 2G" in granted()
    assert f"{file} is not taken over; line 2: defaults.mem" in home.gshare("events").stdout
    home.gshare("controller", "stop")
    assert home.gshare("run", "--sim", "true").returncode == 0  # the next one has what was in force
    assert "mem 2G" in granted()
    file.write_text("[defaults]\nmem = '3G'\n")
    assert home.gshare("controller", "reload").returncode == 0
    assert "mem 3G" in granted()
