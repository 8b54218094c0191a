"""What each command prints with --json is what its JSON Schema says, and nothing that it does not say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from gshare.cli.main import gshare
from gshare.cli.schema import PRINTED, of

from .conftest import Home

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
OPEN = {"gshare/event/v1"}
"""Of these, other fields depend on what they say."""


def strict(schema: Any) -> Any:
    """The schema, refusing fields that it does not have."""
    if isinstance(schema, dict):
        closed = (
            {"additionalProperties": False}
            if schema.get("type") == "object" and "properties" in schema
            else {}
        )
        return {name: strict(value) for name, value in schema.items()} | closed
    return [strict(value) for value in schema] if isinstance(schema, list) else schema


def check(printed: Any, name: str) -> None:
    assert printed["schema"] == name
    jsonschema.Draft202012Validator(of(name) if name in OPEN else strict(of(name))).validate(printed)


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield " ".join([*above, name]), command


def test_each_command_with_json_has_a_schema() -> None:
    with_json = {
        name
        for name, command in commands(gshare)
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json == {
        " ".join(word for word in line.split() if not word.startswith("-")) for line in PRINTED
    }


@pytest.mark.parametrize("name", sorted(set(PRINTED.values())))
def test_schemas_are_schemas(name: str) -> None:
    schema = of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({"schema": "gshare/other/v1"})


def test_they_are_printed(home: Home) -> None:
    table = home.gshare("schema").stdout.splitlines()
    assert len(table) == len(PRINTED) + 1
    printed = json.loads(home.gshare("schema", "gshare/ps/v1").stdout)
    assert printed == of("gshare/ps/v1")
    result = home.gshare("schema", "x")
    hint = "there is none of this name (gshare schema lists them)"
    assert (result.returncode, result.stderr) == (5, f"gshare: schema x: {hint}\n")


def test_what_is_printed_is_what_they_say(home: Home) -> None:
    """In an order in which each has something to print."""
    checked = set()

    def printed(line: str, *more: str, lines: int = 1) -> None:
        result = home.gshare(*line.split(), *more, "--json")
        assert result.stderr == ""
        assert result.stdout.count("\n") == lines
        check(json.loads(result.stdout.splitlines()[-1]), PRINTED[line])
        checked.add(line)

    printed("sim start", "t4*2")
    dry = home.gshare("run", "--sim", "--mem", "4G", "--compute", "30%..60%", "--dry-run", "--json", "true")
    check(json.loads(dry.stdout), PRINTED["run --dry-run"])
    printed("quota set", "team-a", "--mem", "2G,1=1G", "--compute", "40%", "--pcie", "h2d=4G/s")
    program = home.allocator("--tenant", "team-a")
    program.ask("take", 100)
    with subprocess.Popen(
        [sys.executable, "-m", "gshare.cli", "events", "--follow", "--json"],
        env=home.environment, stdout=subprocess.PIPE, text=True,
    ) as follower:  # fmt: skip
        assert follower.stdout
        check(json.loads(follower.stdout.readline()), PRINTED["events --follow"])
        follower.kill()
    printed("set", "team-a", "--compute", "30%")
    printed("pause", "team-a")
    for line in (
        "ps",
        "ps --memory",
        "ps --compute",
        "ps --unmanaged",
        "status",
        "devices",
        "metrics",
        "quota show",
        "queue",
        "sim stat",
    ):
        printed(line)
    printed("events", "-n", "5")
    printed("why", "team-a")
    printed("top", "--once")
    printed("web", "--port", "0")
    printed("resume", "team-a")
    printed("quota rm", "team-a")
    printed("doctor")
    empty = home.folder / "gshare.toml"
    empty.write_text("")
    printed("controller status")
    printed("controller check-config", str(empty))
    printed("controller stop")
    printed("sim stop")
    elsewhere = {"run --dry-run", "events --follow", "demo", "bench", "controller reload"}
    assert checked | elsewhere == set(PRINTED)


@pytest.mark.soak
def test_the_demos_is(home: Home) -> None:
    result = home.gshare("demo", "--seconds", "1", "--json")
    check(json.loads(result.stdout), PRINTED["demo"])


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: path.name)
def test_the_benchmarks_is(path: Path) -> None:
    printed = json.loads(path.read_text())
    if isinstance(printed, dict) and printed.get("schema") == PRINTED["bench"]:
        jsonschema.Draft202012Validator(of(PRINTED["bench"])).validate(printed)
