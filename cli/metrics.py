"""`gshare metrics`: the same numbers for Prometheus, and a dashboard of them."""

from importlib.resources import files

import click

from gshare.cli.options import json_option
from gshare.cli.render import print_json
from gshare.controller.client import Client
from gshare.controller.protocol import GetTop
from gshare.controller.replies import Top


@click.command()
@json_option
@click.option("--grafana", is_flag=True, help="Print a dashboard to import into Grafana instead.")
def metrics(as_json: bool, grafana: bool) -> None:
    """Print what Prometheus would read now; a controller with a web page has it under /metrics.

    With GSHARE_WEB=9445 it is at http://127.0.0.1:9445/metrics from the start, for its own user and root.
    """
    if grafana:
        click.echo((files("gshare.cli") / "grafana.json").read_text(encoding="utf-8"), nl=False)
        return
    reply = Client().ask(GetTop())
    assert isinstance(reply, Top)
    if as_json:
        print_json(reply)
        return
    from gshare.controller.metrics import exposition

    click.echo(exposition(reply), nl=False)
