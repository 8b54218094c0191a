"""What the controller's web server has: the page, the picture that it draws, and metrics for Prometheus."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from gshare.controller.errors import GshareError
from gshare.controller.http import Content, Page, Site, parse_port
from gshare.controller.identity import Credentials
from gshare.controller.replies import Top

log = logging.getLogger(__name__)

VARIABLE = "GSHARE_WEB"
"""The port that a controller listens on from its start."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

Show = Callable[[Credentials], Top]
"""The machine as somebody may see it; raises NotPermitted where that is not at all."""


def site(show: Show) -> Site:
    """All pages; each is only for who may see anything."""

    def file(name: str, kind: str) -> Page:
        body = (Path(__file__).with_name("page") / name).read_bytes()

        def page(who: Credentials) -> Content:
            show(who)
            return Content(kind, body)

        return page

    def picture(who: Credentials) -> Content:
        return Content("application/json", partial(msgspec.json.encode, show(who)))

    def metrics(who: Credentials) -> Content:
        from gshare.controller import metrics

        return Content(metrics.CONTENT_TYPE, partial(metrics.exposition, show(who)))

    return Site(
        {path: file(*entry) for path, entry in FILES.items()}
        | {"/api/top.json": picture, "/metrics": metrics}
    )


async def open_configured(pages: Site, port: int | None) -> None:
    """Serve from the start, on this port or the environment's; a port that is taken stops nobody."""
    wanted = os.environ.get(VARIABLE)
    try:
        if wanted:
            port = parse_port(wanted, VARIABLE)
        if port is not None:
            await pages.open(port)
    except GshareError as error:
        log.warning("no web page: %s", error)
