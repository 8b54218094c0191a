"""A ROUTER socket on the event loop: neither hearing nor answering waits for anybody.

libzmq signals once that something has come, and whoever sends meanwhile may take that signal: so one listens
again after each time that one has sent.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import zmq

AT_ONCE = 4096
"""Messages heard before others have their turn."""

READABLE = int(zmq.POLLIN)


class Channel:
    """One bound socket, to be closed."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket
        self._stirred = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._descriptor = socket.fileno()
        self._loop.add_reader(self._descriptor, self._stirred.set)

    def hear(self) -> Iterator[list[zmq.Frame]]:
        """The messages that have come."""
        self._stirred.clear()
        for _ in range(AT_ONCE):
            if not int(self.socket.get(zmq.EVENTS)) & READABLE:
                return
            yield self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        self._stirred.set()

    async def stirred(self) -> None:
        """Wait, after one has heard, until more may have come; others have their turn in any case."""
        if self._stirred.is_set():
            await asyncio.sleep(0)
        else:
            await self._stirred.wait()

    def send(self, client: bytes, data: bytes) -> None:
        """Answer one client; who has gone, or does not read, loses it."""
        with suppress(zmq.ZMQError):
            self.socket.send_multipart([client, data], zmq.NOBLOCK)
        self._stirred.set()

    def close(self) -> None:
        """Hear and send no more."""
        self._loop.remove_reader(self._descriptor)
        self.socket.close()
