"""Completion as a shell asks for it, and manual pages: all from what the commands say of themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from gshare.cli.completion import VARIABLE
from gshare.cli.main import COMMANDS, gshare
from gshare.cli.man import escaped, pages

from .conftest import Home

BIN = Path(sys.executable).parent


Completed = Callable[..., list[str]]


@pytest.fixture
def completed(home: Home, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """What is offered for the last of some words, as bash asks."""
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    kind = get_completion_class("bash")
    assert kind

    def offered(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["gshare", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        answer = kind(gshare, {}, "gshare", VARIABLE).complete()
        return [line.partition(",")[2] for line in answer.splitlines()]

    return offered


def test_commands_options_tenants_and_choices(home: Home, completed: Completed) -> None:
    assert completed("w") == ["why", "web"]
    assert set(completed("")) == set(COMMANDS)
    assert completed("controller", "st") == ["start", "status", "stop"]
    assert completed("run", "--comp") == ["--compute"]
    assert completed("run", "--priority", "h") == ["high"]
    assert completed("why", "te") == []
    assert not home.run_dir.exists(), "a word that is typed starts no controller"
    home.allocator("--mem", "1G", "--tenant", "team-a").memory()
    for command in ("why", "set", "pause"):
        assert completed(command, "te") == ["team-a"]
    assert completed("run", "--tenant", "team") == ["team-a"]


def test_all_options_of_all_commands(completed: Completed) -> None:
    def within(command: click.Command, *path: str) -> None:
        offered = completed(*path, "-")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert {*parameter.opts, *parameter.secondary_opts} <= {*offered}, path
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            assert {*completed(*path, "")} == {*names}, path
            for name in names:
                inner = command.get_command(context, name)
                assert inner
                within(inner, *path, name)

    within(gshare)


def test_bash_completes(home: Home) -> None:
    if not (BIN / "gshare").exists():
        pytest.skip("needs the installed command")
    script = (
        "source <(gshare completion bash); COMP_WORDS=(gshare ev); COMP_CWORD=1;"
        '"$(complete -p gshare | sed "s/.*-F \\([^ ]*\\).*/\\1/")" gshare; echo "${COMPREPLY[@]}"'
    )
    environment = {**home.environment, "PATH": f"{BIN}:{os.environ['PATH']}"}
    answer = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert (answer.stdout, answer.stderr) == ("events\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_scripts_are_of_the_shells_language(home: Home, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    script = home.gshare("completion", shell).stdout
    assert "_GSHARE_COMPLETE" in script
    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


def test_there_is_a_page_for_each_command() -> None:
    texts = dict(pages())
    assert set(texts) > {"gshare", *(f"gshare-{name}" for name in COMMANDS), "gshare-quota-set"}
    run = texts["gshare-run"]
    for words in (
        "\\-\\-mem SIZE|PCT",
        "Share of GPU time",
        ".SH EXIT STATUS",
        "125",
        "127",
        ".BR gshare (1)",
    ):
        assert words in run
    assert "125" not in texts["gshare-ps"]
    assert "gshare\\-run(1)" in texts["gshare"]


@pytest.mark.parametrize("tool", [["groff", "-man", "-ww", "-Tutf8"], ["mandoc", "-Tlint", "-Wwarning"]])
def test_they_are_pages(tool: list[str], tmp_path: Path) -> None:
    if not shutil.which(tool[0]):
        pytest.skip(f"needs {tool[0]}")
    subprocess.run([sys.executable, "-m", "gshare.cli.man", str(tmp_path / "man1")], check=True, timeout=60)
    files = sorted((tmp_path / "man1").iterdir())
    assert len(files) == len(list(pages()))
    result = subprocess.run(
        [*tool, *map(str, files)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = result.stderr + (result.stdout if tool[0] == "mandoc" else "")
    assert [line for line in complaints.splitlines() if "date" not in line] == []


def test_no_line_is_taken_for_a_request() -> None:
    assert escaped(".so /etc/passwd\n'x\na-b\\c") == "\\&.so /etc/passwd\n\\&'x\na\\-b\\ec"
