"""A small web server for the users of this machine: on loopback, GET only, and who asks is the kernel's word.

A page of another site cannot read from it: a name of its own that leads to 127.0.0.1 is not answered, as the
Host header tells, and no answer is for another origin.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from gshare.controller.errors import GshareError, NotPermitted, UsageError
from gshare.controller.identity import Credentials
from gshare.controller.loopback import End, credentials, other_end

LOOPBACK = "127.0.0.1"
PORT = 9445
HOSTS = {LOOPBACK, "localhost"}
"""Whatever the port: an ssh tunnel has another one."""

MOST_HEADER_BYTES = 8192
MOST_CONNECTIONS = 64
MOST_EACH = 16
"""Connections of one user: who keeps them open, and says nothing, keeps nobody else from the page."""

PATIENCE_S = 5.0
CLOSE_S = 1.0

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    421: "Misdirected Request", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip

PLAIN = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


class Content(NamedTuple):
    """What a path has; a body that takes time to make is made in a thread."""

    kind: str
    body: bytes | Callable[[], bytes]


Page = Callable[[Credentials], Content]
"""What a path has for who asks; raises NotPermitted where that is nothing."""


class Refused(Exception):
    """Nothing is shown, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why

    def answer(self) -> bytes:
        """What the other side is told."""
        return response(self.status, PLAIN, f"gshare: {self.why}\n".encode())


class Site:
    """Pages by their paths, served on one port of loopback."""

    def __init__(self, pages: dict[str, Page]) -> None:
        self.pages = pages
        self.port: int | None = None
        self.asked = 0
        """Requests that were answered."""
        self._server: asyncio.Server | None = None
        self._closed = False
        self._connections: dict[asyncio.Task[None], int] = {}
        """And whose they are."""
        self._turns: dict[int, asyncio.Lock] = {}
        """By user: which process asks is looked for one connection after another."""

    async def open(self, port: int | None) -> None:
        """Listen, unless that is done; without `port` on PORT, or where that is taken on any.

        Raises GshareError where the port cannot be had.
        """
        if self._server is None:
            try:
                self._server = await self._listen(PORT if port is None else port)
            except GshareError:
                if port is not None:
                    raise
                self._server = await self._listen(0)
            self.port = int(self._server.sockets[0].getsockname()[1])
            log.info("web page on %s", self.address)
        elif port not in (None, 0, self.port):
            raise GshareError(f"--port {port}", f"the page is on {self.address}", "gshare web, without it")

    async def _listen(self, port: int) -> asyncio.Server:
        try:
            return await asyncio.start_server(self._accept, LOOPBACK, port, limit=MOST_HEADER_BYTES)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise GshareError(
                f"{LOOPBACK}:{port}", f"cannot be listened on: {reason}", "another --port"
            ) from None

    @property
    def address(self) -> str:
        """Where it is; "" while it is not served."""
        return "" if self.port is None else f"http://{LOOPBACK}:{self.port}/"

    async def close(self) -> None:
        """Listen no more, and let go of who is connected; then nothing of it goes on."""
        self._closed = True
        if self._server:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin with a connection; who has too many costs nothing more than to be told so."""
        if self._closed:  # it was on its way in
            writer.transport.abort()
            return
        end = None
        try:
            with suppress(OSError):
                end = other_end(writer.get_extra_info("peername"), writer.get_extra_info("sockname"))
            if end is None:
                raise Refused(403, "the kernel does not say who asks")
            if list(self._connections.values()).count(end.uid) >= MOST_EACH:
                raise Refused(503, "too many connections of yours")
            if len(self._connections) >= MOST_CONNECTIONS:
                raise Refused(503, "too many connections")
        except Refused as refused:
            writer.write(refused.answer())
            writer.close()
        else:
            task = asyncio.create_task(self._serve(reader, writer, end))
            self._connections[task] = end.uid
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        uid = self._connections.pop(task)
        if uid not in self._connections.values():
            self._turns.pop(uid, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: End) -> None:
        """One request, one answer; who takes too long is let go."""
        try:
            with suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                answer = await asyncio.wait_for(self._answer(reader, end), PATIENCE_S)
                writer.write(answer)
                await asyncio.wait_for(writer.drain(), PATIENCE_S)
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, end: End) -> bytes:
        try:
            method, path = await read_request(reader)
            page = self.pages.get(path)
            if page is None:
                raise Refused(404, "no such page")
            async with self._turns.setdefault(end.uid, asyncio.Lock()):
                who = await asyncio.to_thread(credentials, end)
            kind, body = page(who)
            self.asked += 1
            whole = body if isinstance(body, bytes) else await asyncio.to_thread(body)
            return response(200, kind, whole, with_body=method == "GET")
        except Refused as refused:
            return refused.answer()
        except NotPermitted as error:
            return response(403, PLAIN, f"gshare: {error}\n".encode())
        except GshareError as error:
            return response(503, PLAIN, f"gshare: {error}\n".encode())
        except (OSError, asyncio.IncompleteReadError):
            raise
        except Exception:
            log.exception("web request failed")
            return response(500, PLAIN, b"gshare: fault in gshare; see its log\n")


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Method and path of a sound request for us; raises Refused for any other."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refused(431, "too long") from None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused(400, "not HTTP/1")
    method, target, _ = words
    hosts = [
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.lower() == "host"
    ]
    if len(hosts) != 1 or hosts[0].partition(":")[0] not in HOSTS:
        raise Refused(421, "asked for under another host's name")
    if method not in ("GET", "HEAD"):
        raise Refused(405, "nothing can be changed here")
    return method, target.partition("?")[0]


def response(status: int, kind: str, body: bytes, *, with_body: bool = True) -> bytes:
    """The bytes of an answer."""
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **SECURITY}
    head = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")


def parse_port(text: str, option: str) -> int:
    """A port of loopback, as 9445 or 127.0.0.1:9445."""
    host, _, port = text.rpartition(":")
    if host not in ("", *HOSTS):
        raise UsageError(
            f"{option} {text}", "only loopback can be served", "as 9445; ssh -L brings it elsewhere"
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 1 << 16):
        raise UsageError(f"{option} {text}", "not a port", f"as {PORT}")
    return int(port)
