"""Answers what is asked: one table says what does that for each kind of request."""

import asyncio
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from gshare.controller import authority, identity, protocol, views, web, wire
from gshare.controller.callers import Callers
from gshare.controller.channel import Channel
from gshare.controller.charges import charges
from gshare.controller.errors import GshareError, NotPermitted
from gshare.controller.events import EventLog
from gshare.controller.forbidden import Forbidden
from gshare.controller.identity import Credentials, Peer
from gshare.controller.inbox import Asked
from gshare.controller.paths import Runtime
from gshare.controller.permits import permitted
from gshare.controller.picture import picture
from gshare.controller.pieces import Work, at_once, by_turns
from gshare.controller.reconcile import Reconciler
from gshare.controller.refusals import Refusals
from gshare.controller.region import now_ns
from gshare.controller.registry import Registry
from gshare.controller.replies import Admitted, Configuration, Events, Fault, Reply, Stopping, Top, WebAddress
from gshare.controller.visible import only_visible
from gshare.controller.waiting import Entry, WaitingRoom
from gshare.controller.watch import Watch
from gshare.controller.wire import BadMessage

log = logging.getLogger(__name__)

SHOWN_NS = 500_000_000
"""The page has a picture of this age at most, however many look at it."""

MOST_LONG = 8
"""Answers that take a while are worked at side by side; of more, each is waited for a moment."""

MOST_EVENTS = 1000
"""In one reply, which must be within MAX_MESSAGE_BYTES."""

QuickAnswer = Callable[[Any, Peer], Reply]
SlowAnswer = Callable[[Any, Peer, "asyncio.Future[None]"], Awaitable[Reply]]
"""The future is done where others are not to wait for it."""

Slow = tuple[Coroutine[Any, Any, None], "asyncio.Future[None]"]


class Answering:
    """Knows all parts of the controller that have an answer; `stop` and `look_after` are the server's."""

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        events: EventLog,
        refusals: Refusals,
        reconciler: Reconciler,
        stop: Callable[[], None],
        look_after: Callable[[int], None],
    ) -> None:
        self.runtime = runtime
        self.registry = registry
        self.events = events
        self.refusals = refusals
        self.reconciler = reconciler
        self._stop = stop
        self._look_after = look_after
        """Of a process that asks to be let in."""
        self.sampler = views.Sampler()
        self.watch = Watch(registry)
        self.waiting = WaitingRoom(registry.admission, registry.forget_run)
        self.waiting.on_wait = self._waits
        self.forbidden = Forbidden(events.add)
        self.callers = Callers(runtime, self.forbidden)
        self.site = web.site(self._shown_to)
        self._shown = Top(0, [], [], [], [])
        self._started_ns = now_ns()
        self._long = 0
        self._quick, self._slow = self._table()

    def answer(self, channel: Channel, who: Peer, asked: Asked) -> Slow | None:
        """Answer one request; of one that takes its time, what does, and whose end lets others begin."""
        message, what = 0, ""
        try:
            message, request = wire.unpack_request(asked.data.bytes)
            what = type(request).__name__
            self.callers.check(who)
            request = permitted(who, request, self.registry)
            if slow := self._slow.get(type(request)):
                go_on = asyncio.get_running_loop().create_future()
                return self._answer_slowly(channel, who, asked.client, message, slow, request, go_on), go_on
            reply = self._for(who, self._quick[type(request)](request, who))
        except BadMessage as error:
            message, reply = error.message, wire.misunderstood(error)
        except Exception as error:
            reply = self._refusal(who, what, error)
        channel.send(asked.client, wire.pack(message, reply))
        if isinstance(reply, Stopping):
            self._stop()
        return None

    async def _answer_slowly(
        self, channel: Channel, who: Peer, client: bytes, message: int, slow: SlowAnswer,
        request: protocol.Request, go_on: asyncio.Future[None],
    ) -> None:  # fmt: skip
        try:
            reply = self._for(who, await slow(request, who, go_on))
        except Exception as error:
            reply = self._refusal(who, type(request).__name__, error)
        channel.send(client, wire.pack(message, reply))

    def _refusal(self, who: Peer, what: str, error: Exception) -> Fault:
        """What is answered where something was not done; what is forbidden is noted."""
        if isinstance(error, NotPermitted):
            self.forbidden.note(who, what, str(error), now_ns())
        if isinstance(error, GshareError):
            return wire.fault(error)
        log.error("request failed", exc_info=error)
        return Fault("failed", "controller", f"fault in gshare: {error!r}", f"see {self.runtime.log}")

    def _for(self, who: Peer, reply: Reply) -> Reply:
        """Of an answer what somebody may see."""
        if who.administrator:
            return reply

        @functools.cache
        def sees(tenant: str) -> bool:
            owned = self.registry.ownership(tenant)
            return owned is not None and authority.may_run(who, owned)

        return only_visible(reply, sees)

    def _table(self) -> tuple[dict[type, QuickAnswer], dict[type, SlowAnswer]]:
        """What answers each kind of request: at once; and what may take its time."""
        registry = self.registry
        quick: dict[type, QuickAnswer] = {
            protocol.Pause: lambda request, who: registry.pause(request),
            protocol.GetMemory: lambda request, who: charges(registry),
            protocol.GetEvents: self._events,
            protocol.GetDevices: lambda request, who: views.devices(registry, request.machine),
            protocol.GetQuotas: lambda request, who: registry.quotas(request),
            protocol.RemoveQuota: self._remove_quota,
            protocol.GetQueue: lambda request, who: self.waiting.shown(who),
            protocol.Reload: self._reload,
            protocol.Stop: lambda request, who: Stopping(os.getpid()),
        }
        slow: dict[type, SlowAnswer] = {
            protocol.Admit: self._admit,
            protocol.SetLimits: self._set,
            protocol.SetQuota: self._set,
            protocol.OpenWeb: self._open_web,
            protocol.GetProcesses: self._by_turns(lambda who: views.processes(registry, self.sampler)),
            protocol.GetShares: self._by_turns(lambda who: self.watch.telling(now_ns())),
            protocol.GetTop: self._by_turns(self.drawing),
            protocol.GetStatus: self._by_turns(
                lambda who: views.status(registry, self._started_ns, self.site.address)
            ),
        }
        return quick, slow

    def _by_turns(self, begin: Callable[[Peer], Work[Any]]) -> SlowAnswer:
        """An answer that takes a while, in turn with others, unless there are too many such."""

        async def answer(request: protocol.Request, who: Peer, go_on: asyncio.Future[None]) -> Reply:
            self._long += 1
            try:
                if self._long <= MOST_LONG:
                    go_on.set_result(None)
                reply: Reply = await by_turns(begin(who))
                return reply
            finally:
                self._long -= 1

        return answer

    async def _set(
        self, request: protocol.SetLimits | protocol.SetQuota, who: Peer, go_on: asyncio.Future[None]
    ) -> Reply:
        if request.change.memory is not None or request.change.memory_on:
            await self.registry.capacities.measure(self.registry.machine_of(request))
        self.waiting.pump_soon()
        if isinstance(request, protocol.SetLimits):
            return self.registry.set_limits(request, who)
        return self.registry.set_quota(request)

    async def _open_web(self, request: protocol.OpenWeb, who: Peer, go_on: asyncio.Future[None]) -> Reply:
        if not self.site.address:
            authority.check_administrator(who, "web page")
        await self.site.open(request.port)
        return WebAddress(self.site.address)

    def _events(self, request: protocol.GetEvents, who: Peer) -> Reply:
        self.collect()
        most = max(0, min(request.most, MOST_EVENTS))
        return Events(
            self.events.latest(
                most, request.tenant, request.after, lambda event: authority.sees_event(who, event)
            )
        )

    def _remove_quota(self, request: protocol.RemoveQuota, who: Peer) -> Reply:
        self.waiting.pump_soon()
        return self.registry.remove_quota(request)

    def _reload(self, request: protocol.Reload, who: Peer) -> Reply:
        settings = self.registry.settings
        wrong = settings.reload()
        return Configuration(str(settings.file), not any(one.fatal for one in wrong), wrong)

    def _waits(self, what: str, entry: Entry) -> None:
        request = entry.wish.request
        why = entry.refusal.why if entry.refusal else ""
        about = {"uid": entry.user, "pid": request.pid, "command": request.command, "why": why}
        self.events.add({"what": what, "tenant": request.tenant, **about})

    def top(self, who: Peer) -> Top:
        """The machine as it is now, with the queue as somebody may see it."""
        return at_once(self.drawing(who))

    def drawing(self, who: Peer) -> Work[Top]:
        """The same in pieces."""
        self.collect()
        shares = yield from self.watch.telling(now_ns())
        queue = self.waiting.shown(who).waiting
        drawn = picture(shares, self.reconciler.strangers, self.refusals, queue)
        yield
        return drawn

    def _shown_to(self, credentials: Credentials) -> Top:
        """What the page has for a user."""
        who = self.callers.on_page(credentials)
        if now_ns() - self._shown.now_ns > SHOWN_NS:
            self._shown = self.top(identity.controller_itself())
        if who.administrator:
            return self._shown
        shown = self._for(who, self._shown)
        assert isinstance(shown, Top)
        return msgspec.structs.replace(shown, queue=self.waiting.shown(who).waiting)

    async def _admit(self, request: protocol.Admit, who: Peer, go_on: asyncio.Future[None]) -> Reply:
        await self.registry.capacities.prepare(request)
        if request.dry_run:
            return self.registry.admit(request, who)
        self._look_after(request.pid)
        go_on.set_result(None)
        reply = await self.waiting.admit(request, who)
        if isinstance(reply, Admitted) and reply.tenant:
            self.registry.tenants.let_in(reply.tenant)
        return reply

    def collect(self) -> None:
        """Make events of the refusals that nobody has told yet."""
        for tenant in self.registry.tenants.by_name.values():
            self.refusals.collect(tenant)
