"""`gshare completion`: what a shell needs to complete gshare's commands, options and tenants."""

import click
from click.shell_completion import get_completion_class

from gshare.controller.errors import GshareError

VARIABLE = "_GSHARE_COMPLETE"
"""As click has it: the variable in which a shell asks."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for SHELL, which completes commands, options and the names of tenants that run.

    \b
    bash: gshare completion bash > ~/.local/share/bash-completion/completions/gshare
    zsh:  gshare completion zsh > _gshare, in a directory of $fpath
    fish: gshare completion fish > ~/.config/fish/completions/gshare.fish
    """
    from gshare.cli.main import gshare

    kind = get_completion_class(shell)
    if kind is None:
        raise GshareError(f"completion {shell}", "not known to click")
    click.echo(kind(gshare, {}, "gshare", VARIABLE).source(), nl=False)
