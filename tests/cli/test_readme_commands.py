"""Each `gshare …` that the documentation names is a command, and has the options that it names."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from gshare.cli.main import COMMANDS, gshare

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CODE = re.compile(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?<![./])\bgshare ([^\n|#&;>()\"]+)")


def calls(text: str) -> set[str]:
    """As they stand in code, up to what a shell would do with them."""
    code = [re.sub(" # .*", "", match[1] or match[2]) for match in CODE.finditer(text.replace("\\|", "/"))]
    return {
        call.strip() for part in code for call in CALL.findall(part) if call[0].isalpha() or call[0] == "-"
    }


def wrong(call: str) -> str:
    """What no command or option has that name; "" where all have."""
    words = re.sub(r"[\[\],…]", " ", call).split()
    command: click.Command = gshare
    options: set[str] = set()
    while True:
        options |= {
            name for parameter in command.params for name in parameter.opts + parameter.secondary_opts
        }
        rest = [word for word in words if not word.startswith(("-", "tcp:"))]
        if not isinstance(command, click.Group) or not rest:
            break
        following = [command.get_command(click.Context(command), name) for name in rest[0].split("/")]
        if None in following:
            return rest[0]
        words.remove(rest[0])
        command = following[0] or command
    for word in words:
        if word == "--" or (command.name == "run" and not word.startswith("-") and word[0].islower()):
            break  # what follows is the program's
        named = {name.split("=")[0] for name in word.split("/")} if word.startswith("-") else set()
        if not named <= options | {"-h", "--help", "--version"}:
            return word
    return ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_and_option_that_is_named_exists(document: Path) -> None:
    assert {call: at for call in calls(document.read_text()) if (at := wrong(call))} == {}


def test_each_command_has_a_row_in_the_table() -> None:
    table = re.findall(r"^\| (`gshare .*?`) \|(?= )", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = " ".join(cell.replace("\\|", " ") for cell in table)
    assert {name for name in COMMANDS if not re.search(rf"\b{name}\b", named)} == set()
    context = click.Context(gshare)
    for name in COMMANDS:
        command = gshare.get_command(context, name)
        if isinstance(command, click.Group):
            inner = command.list_commands(click.Context(command))
            assert {one for one in inner if not re.search(rf"\b{one}\b", named)} == set(), name


def test_what_does_not_exist_is_found() -> None:
    """The control."""
    assert calls("`gshare quota sett x` and\n```sh\nsudo gshare run --memm 8G true | cat\n```\n") == {
        "quota sett x",
        "run --memm 8G true",
    }
    assert wrong("quota sett x") == "sett"
    assert wrong("run --memm 8G true") == "--memm"
    assert wrong("run --mem 8G true --memm") == ""
    assert wrong("pause/resume TENANT") == ""
    assert wrong("pause/resum TENANT") == "pause/resum"


def anchors(document: Path) -> set[str]:
    """What GitHub makes of its headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
