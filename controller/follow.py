"""The events of a controller, the latest and then those to come."""

import json
import os
from collections.abc import Iterator

import zmq

from gshare.controller import wire
from gshare.controller.authority import OWN
from gshare.controller.client import Client
from gshare.controller.events import Event
from gshare.controller.protocol import GetEvents
from gshare.controller.replies import Events

POLL_MS = 500
ALL = 1000


def called(client: Client, tenant: str) -> tuple[str, ...]:
    """What may be meant by a tenant's name: on a controller for all, a user's own has their uid in it."""
    if not tenant or OWN in tenant or not client.runtime.machine_wide:
        return (tenant,)
    return tenant, f"{tenant}{OWN}{os.geteuid()}"


def latest(client: Client, most: int, tenant: str = "", after: int = 0) -> list[Event]:
    """The latest events, oldest first."""
    found: dict[int, Event] = {}
    for name in called(client, tenant):
        reply = client.ask(GetEvents(most, name, after))
        assert isinstance(reply, Events)
        found |= {event["number"]: event for event in reply.events}
    return [found[number] for number in sorted(found)[-most:]]


def follow(client: Client, most: int, tenant: str = "") -> Iterator[Event]:
    """The latest events and, without end, what happens; a controller that ends is waited for.

    A message only says that there is something to ask for, so that nothing is missed that the socket has
    dropped, or that came before it was connected.
    """
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        if not client.runtime.machine_wide:  # there events are told to administrators: others ask
            socket.connect(f"ipc://{client.runtime.events}")
        newest, shown = latest(client, 1), latest(client, most, tenant)
        yield from shown
        seen = max((event["number"] for event in (*newest, *shown)), default=0)
        names, listening = called(client, tenant), False
        while True:
            if socket.poll(POLL_MS):
                if json.loads(socket.recv_multipart()[1])["number"] <= seen:
                    continue
            elif listening and not client.runtime.machine_wide:
                continue
            listening = True  # the first silence, too, is a reason to ask what was missed
            for event in latest(client, ALL, after=seen):
                seen = event["number"]
                if not tenant or event["tenant"] in names:
                    yield event
