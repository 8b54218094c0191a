"""`gshare controller check-config` and `reload`: what is wrong with a configuration, and taking it over."""

from pathlib import Path

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.controller.client import Client
from gshare.controller.errors import NoSuchThing
from gshare.controller.protocol import Reload
from gshare.controller.replies import Configuration


@click.command("check-config")
@json_option
@click.argument("file", metavar="[FILE]", default="")
def check_config(file: str, as_json: bool) -> int:
    """Say what is wrong with a configuration, a line for each fault; exit code 1 where there is any.

    Without FILE it is the one that the controller reads.
    """
    from gshare.controller import config_file, settings
    from gshare.controller.paths import runtime

    path = Path(file) if file else settings.path(runtime())
    if not path.exists():
        raise NoSuchThing(str(path), "there is no such file", "without one, nothing is configured")
    config, wrong = config_file.read(path)
    return _show(Configuration(str(path), config is not None, wrong), as_json)


@click.command("reload")
@json_option
def reload(as_json: bool) -> int:
    """Let the controller read its configuration again; one with a fault changes nothing, exit code 1.

    It does so by itself, too, within a second after the file has changed, and on SIGHUP.
    """
    reply = Client(start=False).ask(Reload())
    assert isinstance(reply, Configuration)
    return _show(reply, as_json)


def _show(found: Configuration, as_json: bool) -> int:
    if as_json:
        print_json(found)
    else:
        for one in found.wrong:
            click.echo(f"{found.file}: {one}")
        if not found.wrong:
            click.echo(f"{found.file}: nothing is wrong")
    return 1 if found.wrong else 0
