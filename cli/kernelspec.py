"""`gshare kernelspec`: notebooks whose kernels are tenants."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click

from gshare.cli.options import limit_options, limits
from gshare.controller.errors import GshareError, UsageError
from gshare.controller.files import cannot_write
from gshare.controller.units import parse_tenant

NAME = re.compile(r"[a-z0-9_.-]{1,64}")


@click.group()
def kernelspec() -> None:
    """Notebooks: a Jupyter kernel under limits."""


@kernelspec.command()
@limit_options
@click.option("--tenant", metavar="NAME", help="Share the quota of this tenant; else each kernel is its own.")
@click.option("--sim", is_flag=True, help="On the simulated GPU.")
@click.option("--name", default="gshare", show_default=True, help="What Jupyter knows it by.")
@click.option("--python", metavar="FILE", default=sys.executable, help="The kernel's Python, with ipykernel.")
@click.option("--prefix", metavar="DIR", help="Below DIR/share/jupyter, not for this user only.")
def install(
    tenant: str | None, sim: bool, name: str, python: str, prefix: str | None, **wanted: str | None
) -> None:
    """Give Jupyter a kernel that runs under these limits, as gshare run has them."""
    limits(lift=False, **wanted)  # what is wrong with them is to be told now
    if tenant is not None:
        parse_tenant(tenant)
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name}", "is no name of a kernel", "small letters, digits, - . and _")
    _check(python)
    given = [f"--{option.replace('_', '-')}={value}" for option, value in wanted.items() if value is not None]
    given += [f"--tenant={tenant}"] * (tenant is not None) + ["--sim"] * sim
    path = _kernels(prefix) / name / "kernel.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(specification(python, given), indent=1) + "\n")
    except OSError as error:
        raise cannot_write(path, error) from None
    click.echo(str(path))


def specification(python: str, options: list[str]) -> dict[str, object]:
    """What is in kernel.json: Jupyter's signals reach the kernel, since `run` becomes it."""
    kernel = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    shown = " ".join(option.removeprefix("--").replace("=", " ") for option in options)
    return {
        "argv": [sys.executable, "-m", "gshare.cli", "run", *options, "--", *kernel],
        "display_name": f"Python (gshare{f': {shown}' if shown else ''})",
        "language": "python",
        "interrupt_mode": "signal",
    }


def _kernels(prefix: str | None) -> Path:
    if prefix is not None:
        return Path(prefix).absolute() / "share" / "jupyter" / "kernels"
    data = os.environ.get("JUPYTER_DATA_DIR")
    share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return (Path(data) if data else Path(share) / "jupyter") / "kernels"


def _check(python: str) -> None:
    try:
        command = [python, "-c", "import ipykernel"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise GshareError(f"--python {python}", f"cannot be run: {error.strerror}") from None
    if done.returncode:
        raise GshareError(f"--python {python}", "has no ipykernel", f"{python} -m pip install ipykernel")


COMMAND = kernelspec
