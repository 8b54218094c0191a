"""The web server: loopback, GET, this user, its own name; whatever else comes is refused and stops nobody."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.controller import http, loopback
from gshare.controller.errors import GshareError, NotPermitted, UsageError
from gshare.controller.http import Content, Refused, Site, parse_port, read_request
from gshare.controller.identity import Credentials
from gshare.controller.loopback import End, credentials, other_end

NOBODY = 65534
HOST = b"Host: localhost\r\n\r\n"


def shown(who: Credentials) -> Content:
    if who.uid != os.geteuid():
        raise NotPermitted("page", f"is not of {who.uid}, {who.gid}, {who.pid > 0}")
    return Content("text/plain", b"hello")


def broken(who: Credentials) -> Content:
    raise RuntimeError("secret")


def served(use: Callable[[Site], Awaitable[None]]) -> None:
    async def run() -> None:
        site = Site({"/": shown, "/broken": broken})
        await site.open(0)
        try:
            await asyncio.wait_for(use(site), 30)
        finally:
            await site.close()

    asyncio.run(run())


async def ask(site: Site, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer."""
    reader, writer = await asyncio.open_connection(http.LOOPBACK, site.port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


REQUESTS = {
    "a page": (b"GET / HTTP/1.1\r\n" + HOST, 200, b"hello"),
    "by number": (b"GET /?x=1 HTTP/1.1\r\nHOST: 127.0.0.1:9999\r\n\r\n", 200, b"hello"),
    "only its head": (b"HEAD / HTTP/1.1\r\n" + HOST, 200, b""),
    "no such page": (b"GET /etc/passwd HTTP/1.1\r\n" + HOST, 404, b"gshare: no such page\n"),
    "out of the folder": (b"GET /../x HTTP/1.1\r\n" + HOST, 404, b"gshare: no such page\n"),
    "another's name": (b"GET / HTTP/1.1\r\nHost: evil.example:9445\r\n\r\n", 421, b""),
    "a name that begins so": (b"GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421, b""),
    "no name": (b"GET / HTTP/1.1\r\n\r\n", 421, b""),
    "two names": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 421, b""),
    "a change": (b"POST / HTTP/1.1\r\n" + HOST, 405, b"gshare: nothing can be changed here\n"),
    "no HTTP": (b"hello\r\n\r\n", 400, b"gshare: not HTTP/1\n"),
    "bytes": (b"\xff\x00 \x80 \r\n\r\n", 400, b""),
    "too long": (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n" + HOST, 431, b"gshare: too long\n"),
    "a fault": (b"GET /broken HTTP/1.1\r\n" + HOST, 500, b"gshare: fault in gshare; see its log\n"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_and_answers(name: str) -> None:
    request, status, body = REQUESTS[name]

    async def use(site: Site) -> None:
        got, headers, content = await ask(site, request)
        assert got == status
        assert content == body or not body
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert "access-control-allow-origin" not in headers
        assert (await ask(site, REQUESTS["a page"][0]))[0] == 200

    served(use)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=http.MOST_HEADER_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        try:
            await read_request(reader)
        except (Refused, asyncio.IncompleteReadError):
            return

    asyncio.run(read())


def test_who_says_nothing_or_does_not_listen_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 0.2)

    async def use(site: Site) -> None:
        silent = [await asyncio.open_connection(http.LOOPBACK, site.port) for _ in range(10)]
        assert (await ask(site, REQUESTS["a page"][0]))[0] == 200
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()

    served(use)


def test_nothing_goes_on_after_the_end() -> None:
    """Whoever is asking is let go, and whose connection is made just then is not begun with."""

    async def use(site: Site) -> None:
        streams = [await asyncio.open_connection(http.LOOPBACK, site.port) for _ in range(3)]
        while len(site._connections) < 3:
            await asyncio.sleep(0.01)
        await site.close()
        assert not site._connections
        site._accept(*streams[0])
        assert not site._connections
        for reader, writer in streams[1:]:
            assert await reader.read() == b""
            writer.close()

    served(use)


def test_too_many_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 3)

    async def use(site: Site) -> None:
        silent = [await asyncio.open_connection(http.LOOPBACK, site.port) for _ in range(3)]
        assert (await ask(site, REQUESTS["a page"][0]))[0] == 503
        for _, writer in silent:
            writer.close()

    served(use)


def test_who_keeps_many_open_keeps_nobody_else_out(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [NOBODY]
    monkeypatch.setattr(http, "other_end", lambda *ends: End(users[-1], 0))

    async def use(site: Site) -> None:
        hostile = [await asyncio.open_connection(http.LOOPBACK, site.port) for _ in range(http.MOST_EACH)]
        while len(site._connections) < http.MOST_EACH:
            await asyncio.sleep(0.01)
        for _ in range(http.MOST_CONNECTIONS):
            assert (await ask(site, REQUESTS["a page"][0]))[0] == 503
        users.append(os.geteuid())
        assert (await ask(site, REQUESTS["a page"][0]))[0] == 200
        for _, writer in hostile:
            writer.close()

    served(use)


def test_who_has_much_open_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of their processes asks is looked for once at a time, and takes one thread of all."""
    users, looking, go_on = [NOBODY], [], threading.Event()

    def look(end: End) -> Credentials:
        if end.uid == NOBODY:
            looking.append(end)
            go_on.wait(20)
        return Credentials(end.uid, -1, 0)

    monkeypatch.setattr(http, "other_end", lambda *ends: End(users[-1], 0))
    monkeypatch.setattr(http, "credentials", look)

    async def use(site: Site) -> None:
        hostile = [asyncio.create_task(ask(site, REQUESTS["a page"][0])) for _ in range(http.MOST_EACH)]
        while len(site._connections) < http.MOST_EACH or not looking:
            await asyncio.sleep(0.01)
        users.append(os.geteuid())
        assert (await ask(site, REQUESTS["a page"][0]))[0] == 200
        assert len(looking) == 1
        go_on.set()
        assert {(await one)[0] for one in hostile} == {403}

    try:
        served(use)
    finally:
        go_on.set()


def test_the_kernel_says_whose_a_connection_is() -> None:
    with socket.create_server((http.LOOPBACK, 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        connection, _ = listening.accept()
        with connection:
            ends = client.getsockname(), connection.getsockname()
            end = other_end(*ends)
            assert end == (os.geteuid(), os.fstat(client.fileno()).st_ino)
            assert credentials(end) == (os.geteuid(), -1, 0)
            assert other_end(("127.0.0.1", 1), ends[1]) is None
            client.close()
            assert other_end(*ends) is None, "who has gone is nobody, not root"


def test_not_all_is_looked_through_that_a_user_has_open(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = itertools.count()
    monkeypatch.setattr(loopback, "_files", lambda uid: ((uid, f"socket:[{number}]") for number in endless))
    assert loopback._holder(NOBODY, "socket:[7]") == NOBODY
    assert loopback._holder(NOBODY, "socket:[7]") == 0
    assert next(endless) == loopback.MOST_FILES + 8


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_another_user_is_shown_nothing() -> None:
    client = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "s.sendall(b'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'); print(s.recv(9999).decode())"
    )

    async def use(site: Site) -> None:
        def other() -> str:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command += [getattr(sys, "_base_executable", sys.executable), "-c", client, str(site.port)]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        answer = await asyncio.get_running_loop().run_in_executor(None, other)
        assert answer.startswith("HTTP/1.1 403 ")
        assert answer.strip().endswith(f"gshare: page: is not of {NOBODY}, {NOBODY}, True")

    served(use)


def test_a_port_that_is_taken() -> None:
    async def use(site: Site) -> None:
        other = Site({})
        with pytest.raises(GshareError, match="cannot be listened on"):
            await other.open(site.port)
        await site.open(None)
        with pytest.raises(GshareError, match="the page is on"):
            await site.open(1)

    served(use)


def test_ports() -> None:
    assert [parse_port(text, "--port") for text in ("0", "9445", "127.0.0.1:80", "localhost:80")] == [
        0,
        9445,
        80,
        80,
    ]
    for text in ("", "x", "-1", "65536", "0.0.0.0:80", "1.2.3.4:80", "::1", "٣", "9" * 5000):
        with pytest.raises(UsageError):
            parse_port(text, "--port")
