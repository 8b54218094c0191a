"""What a shell offers for a word that is typed: names of tenants that run, words of a choice, files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE_S = 1.0

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def tenants(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Those that run and are theirs to see; none where no controller answers at once."""
    from gshare.controller.client import Client
    from gshare.controller.errors import GshareError
    from gshare.controller.protocol import GetProcesses
    from gshare.controller.replies import Processes

    try:
        reply = Client(start=False).ask(GetProcesses(), PATIENCE_S)
    except GshareError:
        return []
    assert isinstance(reply, Processes)
    names = dict.fromkeys(process.tenant for process in reply.processes)
    return [name for name in names if name.startswith(incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the shell itself offers for a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def choice(words: Sequence[str]) -> Completer:
    """One of these."""
    return lambda ctx, param, incomplete: [word for word in words if word.startswith(incomplete)]
