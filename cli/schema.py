"""`gshare schema`: JSON Schema of what `--json` prints, made from the types that it is printed from."""

from __future__ import annotations

from typing import Any, get_args

import click
import msgspec

from gshare.cli import outputs
from gshare.cli.render import print_json, print_table
from gshare.controller.errors import NoSuchThing

DIALECT = "https://json-schema.org/draft/2020-12/schema"

PRINTED = {
    "run --dry-run": "gshare/dry-run/v1",
    "ps": "gshare/ps/v1",
    "ps --memory": "gshare/memory/v1",
    "ps --compute": "gshare/shares/v1",
    "ps --unmanaged": "gshare/unmanaged/v1",
    "events": "gshare/events/v1",
    "events --follow": "gshare/event/v1",
    "why": "gshare/why/v1",
    "top": "gshare/top/v1",
    "web": "gshare/web/v1",
    "metrics": "gshare/top/v1",
    "status": "gshare/status/v1",
    "devices": "gshare/devices/v1",
    "set": "gshare/set/v1",
    "pause": "gshare/pause/v1",
    "resume": "gshare/pause/v1",
    "queue": "gshare/queue/v1",
    "quota set": "gshare/quota/v1",
    "quota show": "gshare/quota/v1",
    "quota rm": "gshare/quota/v1",
    "controller status": "gshare/status/v1",
    "controller check-config": "gshare/config/v1",
    "controller reload": "gshare/config/v1",
    "controller stop": "gshare/stop/v1",
    "sim start": "gshare/sim/v1",
    "sim stat": "gshare/sim/v1",
    "sim stop": "gshare/sim/v1",
    "doctor": "gshare/doctor/v1",
    "demo": "gshare/demo/v1",
    "bench": "gshare/bench/v1",
}
"""What each command prints with `--json`; `events --follow` and `top` an object a line."""


@click.command()
@click.argument("schema", metavar="[ID]", default="")
def schema(schema: str) -> None:
    """Print the JSON Schema of what --json prints under ID, as gshare/ps/v1; without it, which there are.

    A version stays what it is but for fields that are added.
    """
    if not schema:
        print_table(("COMMAND", "SCHEMA"), list(PRINTED.items()))
        return
    if schema not in PRINTED.values():
        raise NoSuchThing(f"schema {schema}", "there is none of this name", "gshare schema lists them")
    print_json(of(schema))


def of(name: str) -> dict[str, Any]:
    """One schema."""
    return {"$schema": DIALECT, "$id": name, **msgspec.json.schema(types()[name])}


def types() -> dict[str, type[msgspec.Struct]]:
    """Everything that says under which id it is printed."""
    from gshare.cli.doctor import Report
    from gshare.controller.replies import Reply

    own = [value for value in vars(outputs).values() if isinstance(value, type)]
    found = [kind for kind in (*get_args(Reply), Report, *own) if issubclass(kind, msgspec.Struct)]
    return {
        kind.__struct_config__.tag: kind for kind in found if kind.__struct_config__.tag_field == "schema"
    }
