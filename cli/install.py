"""`gshare controller install`: the service for all users of a machine."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import click

from gshare.controller import install as wanted
from gshare.controller.errors import GshareError, NotPermitted
from gshare.controller.files import cannot_write


@click.command()
@click.option("--root", default="/", metavar="DIR", help="Of the system to install into.")
@click.option("--dry-run", is_flag=True, help="Show what would be written and run.")
def install(root: str, dry_run: bool) -> None:
    """Make gshare a service of this machine, for all its users: unit, configuration, groups, directories.

    A configuration that is there already is kept.  Nothing is started.
    """
    base = Path(root).absolute()
    if base == Path("/") and os.geteuid() != 0 and not dry_run:
        raise NotPermitted("controller install", "needs root", "sudo gshare controller install")
    for file in wanted.files():
        path = base / file.path
        kept = file.keep and path.exists()
        if dry_run:
            click.echo(f"# {path}{' (is there, and kept)' if kept else ''}\n{file.content}")
        elif kept:
            click.echo(f"kept {path}")
        else:
            _write(path, file.content)
            click.echo(f"wrote {path}")
    for command in wanted.commands(base):
        if dry_run:
            click.echo("# " + " ".join(command))
        else:
            _run(command)
    if not dry_run:
        click.echo(f"to start it: {_start()}")


def _start() -> str:
    if Path("/run/systemd/system").is_dir():
        return "systemctl enable --now gshare"
    return "gshare controller start --machine-wide"


def _write(path: Path, content: str) -> None:
    """Replace the file, whole: a unit that is half written would not start."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary.write_text(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def _run(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        raise GshareError(command[0], "is not on this system", "its work is left to you: --dry-run shows it")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GshareError(" ".join(command), f"ended with {done.returncode}: {done.stderr.strip()}")
    click.echo("ran " + " ".join(command))
