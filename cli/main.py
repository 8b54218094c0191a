"""The table of commands, loaded one at a time, and the only place that catches errors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from gshare.controller.errors import RUN_REFUSED, GshareError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Run a program under limits.",
    "ps": "List the processes of all tenants, and what they use.",
    "events": "Show what has happened, refused allocations among it.",
    "why": "Say why a tenant waits, and what would help.",
    "top": "Watch devices and tenants live.",
    "web": "Serve the same as a web page.",
    "metrics": "Print the same for Prometheus, or a Grafana dashboard.",
    "status": "Show the controller and the devices.",
    "devices": "List the GPUs, and what is promised of them.",
    "set": "Change a running tenant's limits.",
    "pause": "Stop what a tenant does on the GPU.",
    "resume": "Let it go on.",
    "kill": "End what a tenant runs.",
    "quota": "Permanent quotas: set, show, rm.",
    "queue": "Show who waits to be let in, and why.",
    "env": "Print a tenant's environment, for scripts.",
    "cdi": "Containers: a CDI specification.",
    "kernelspec": "Notebooks: a Jupyter kernel under limits.",
    "controller": "Start and stop the controller by hand.",
    "sim": "The simulated GPU: start, stat, stop.",
    "completion": "Print a script for completion in a shell.",
    "schema": "Print the JSON Schema of what --json prints.",
    "doctor": "Say what works here, and why not.",
    "demo": "Show it working, in about ten seconds.",
    "bench": "Measure what gshare costs.",
}
"""Each command is a module of gshare.cli; the click command there has the same name, or is called COMMAND."""


class Commands(click.Group):
    """The group of all commands: importing it imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"gshare.cli.{cmd_name}")
        command: click.Command = module.COMMAND if hasattr(module, "COMMAND") else getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The one that is meant; of one that there is not, what may have been meant."""
        if not args or args[0] in COMMANDS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        close = get_close_matches(args[0], COMMANDS, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise click.UsageError(f"No such command {args[0]!r}.{meant}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Their names, without loading what they name."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without loading what it names."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gshare", prog_name="gshare")
@click.option("--host", metavar="tcp://NAME:PORT#KEY", help="Ask another machine's controller.")
def gshare(host: str | None) -> None:
    """Share one GPU between programs under memory and compute limits that hold."""
    if host is not None:
        os.environ["GSHARE_HOST"] = host


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, else the code that README lists for what went wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_run = given[:1] == ["run"]
    try:
        code = gshare.main(given, prog_name="gshare", standalone_mode=False)
    except GshareError as error:
        click.echo(f"gshare: {error}", err=True)
        sys.exit(error.run_exit_code if is_run else error.exit_code)
    except NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.message, err=True)
        sys.exit(RUN_REFUSED if is_run else error.exit_code)
    except click.ClickException as error:
        click.echo(f"gshare: {_usage_error(error)}", err=True)
        sys.exit(RUN_REFUSED if is_run else error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _interrupted()
    except OSError as error:  # stdout on a full disk, or a file that goes meanwhile
        click.echo(f"gshare: {_failed(given, error)}", err=True)
        sys.exit(RUN_REFUSED if is_run else GshareError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> NoReturn:
    """End by the signal: a shell whose loop we are in goes on with it after any exit code of ours."""
    with suppress(OSError):
        sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(130)


def _usage_error(error: click.ClickException) -> UsageError:
    """What click says, as one line of ours."""
    context = getattr(error, "ctx", None)
    shown = context.command_path if context else "gshare"
    return UsageError(shown.removeprefix("gshare "), error.format_message(), f"{shown} --help")


def _failed(given: Sequence[str], error: OSError) -> GshareError:
    """What the system says, as one line of ours."""
    of = "" if error.filename is None else f" {error.filename}"
    return GshareError(f"{_command(given)}{of}", error.strerror or str(error))


def _command(given: Sequence[str]) -> str:
    return given[0] if given[:1] and given[0] in COMMANDS else "gshare"
