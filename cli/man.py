"""`python -m gshare.cli.man DIRECTORY`: a manual page for each command, from what `--help` says."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click

from gshare.cli.main import gshare
from gshare.controller import errors
from gshare.controller.errors import RUN_REFUSED, GshareError

SECTION = "1"


def main(directory: str) -> None:
    """Write all pages, into a directory that is made: as DIRECTORY/gshare-run.1."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / f"{name}.{SECTION}").write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page, the group's first."""
    yield from _pages(gshare, click.Context(gshare, info_name="gshare"))


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path.replace(" ", "-"), page(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from _pages(inner, click.Context(inner, info_name=name, parent=context))


def page(command: click.Command, context: click.Context) -> str:
    """One page, in man(7)."""
    name = context.command_path.replace(" ", "-")
    summary, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
    parts = [
        f'.TH "{name.upper()}" "{SECTION}" "" "gshare {version("gshare")}" "gshare"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(' '.join(summary.split()).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {escaped(context.command_path)}",
        escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        escaped(summary),
        *_paragraphs(rest),
    ]
    options = [record for p in command.get_params(context) if (record := p.get_help_record(context))]
    parts += [".SH OPTIONS", *_terms(options)] if options else []
    if isinstance(command, click.Group):
        parts += [".SH COMMANDS", *_terms(list(_commands(command, context, name)))]
    parts += [".SH EXIT STATUS", *_terms(_exit_codes(name))]
    if context.parent:
        above = context.parent.command_path.replace(" ", "-")
        parts += [".SH SEE ALSO", f".BR {escaped(above)} ({SECTION})"]
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """As man(7) wants it: no line of text is a request, and hyphens are those that are typed."""
    return "\n".join(
        ("\\&" if line.startswith((".", "'")) else "") + "".join(map(_character, line))
        for line in text.replace("\\", "\\e").replace("-", "\\-").replace("`", "").splitlines()
    )


def _character(c: str) -> str:
    return c if c.isascii() else f"\\[u{ord(c):04X}]"


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs are filled, but for those that begin with a backspace, as click has it."""
    for paragraph in filter(None, (part.strip("\n") for part in text.split("\n\n"))):
        first, *lines = paragraph.splitlines()
        if first.strip() == "\b":
            yield from (".PP", ".nf", *(escaped(line) for line in lines), ".fi")
        else:
            yield from (".PP", escaped(paragraph))


def _terms(terms: list[tuple[str, str]]) -> Iterator[str]:
    for term, text in terms:
        yield from (".TP", f".B {escaped(term)}", escaped(" ".join(text.split())))


def _commands(group: click.Group, context: click.Context, name: str) -> Iterator[tuple[str, str]]:
    for inner in group.list_commands(context):
        command = group.get_command(context, inner)
        assert command
        yield f"{name}-{inner}({SECTION})", command.get_short_help_str(200)


def _exit_codes(name: str) -> list[tuple[str, str]]:
    """As errors.py has them."""
    kinds = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GshareError)
    }
    of_run = {kind.run_exit_code: kind.__doc__ or "" for kind in kinds}
    of_others = {kind.exit_code: kind.__doc__ or "" for kind in kinds if kind.exit_code not in of_run}
    if name == "gshare-run":
        codes = {**of_run, RUN_REFUSED: "gshare refused or failed: the program was not started."}
        first = ("0 and others", "The program's own.")
    else:
        codes = {**of_others, GshareError.exit_code: "It failed, or what was asked about is not so."}
        first = ("0", "Done.")
    return [first, *((str(code), text) for code, text in sorted(codes.items()))]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m gshare.cli.man DIRECTORY")
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.exit(f"gshare: {error.filename}: {error.strerror}")
