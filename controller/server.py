"""The controller's process: sockets, clock and signals around the registry."""

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress

import msgspec
import zmq
import zmq.asyncio

from gshare.controller import authority, identity, protocol, remote, views, web, wire
from gshare.controller.callers import Callers
from gshare.controller.charges import charges
from gshare.controller.config import Config
from gshare.controller.configured import Configured
from gshare.controller.connections import Connections
from gshare.controller.errors import GshareError, NotPermitted
from gshare.controller.events import EventLog
from gshare.controller.forbidden import Forbidden
from gshare.controller.gatekeeper import EVENTS, REMOTE, REQUESTS, Gatekeeper, remote_sender, sender
from gshare.controller.identity import Credentials, Peer
from gshare.controller.inbox import Asked, Inbox
from gshare.controller.notify import ALIVE, READY, STOPPING, notify
from gshare.controller.paths import Runtime
from gshare.controller.permits import permitted
from gshare.controller.picture import picture
from gshare.controller.reconcile import Reconciler
from gshare.controller.refusals import Refusals
from gshare.controller.region import now_ns
from gshare.controller.registry import Registry
from gshare.controller.replies import Admitted, Configuration, Events, Fault, Reply, Stopping, Top, WebAddress
from gshare.controller.sockets import LINGER_MS, bind, bounded
from gshare.controller.visible import only_visible
from gshare.controller.waiting import Entry, WaitingRoom
from gshare.controller.watch import Watch
from gshare.controller.wire import BadMessage

log = logging.getLogger(__name__)

TICK_S = 1.0
SHUTDOWN_S = 5

QUICK_S = 0.02
"""Longer is no answer waited for before the next request is begun."""

AT_ONCE = 4096
"""Messages heard between two requests."""

SHOWN_NS = 500_000_000
"""The page has a picture of this age at most, however many look at it."""

MOST_EVENTS = 1000
"""In one reply, which must be within MAX_MESSAGE_BYTES."""


class Server:
    """One controller on one runtime directory, from bind to idle exit."""

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        events: EventLog,
        refusals: Refusals,
        reconciler: Reconciler,
        idle_exit_s: Callable[[Config], float | None],
    ) -> None:
        self.runtime = runtime
        self.registry = registry
        self.events = events
        self.refusals = refusals
        self.reconciler = reconciler
        reconciler.rules = lambda: registry.settings.config.audit
        self.idle_exit_s: float | None = None
        self.sampler = views.Sampler()
        self.watch = Watch(registry)
        self.waiting = WaitingRoom(registry.admission, registry.forget_run)
        self.waiting.on_wait = self._waits
        self.forbidden = Forbidden(events.add)
        self.callers = Callers(runtime, self.forbidden)
        events.owner_of = registry.tenants.owners.get
        self.site = web.site(self._shown_to)
        self._shown = Top(0, [], [], [], [])
        self._started_ns = now_ns()
        self._stopping = asyncio.Event()
        self._connections: list[Connections] = []
        self._watched: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_exit_s = idle_exit_s
        Configured(registry, events.add, self._configured)
        registry.settings.start()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Answer requests until stopped or idle; `ready` is called once clients are heard."""
        context = zmq.asyncio.Context()
        events = zmq.Socket(context, zmq.PUB)
        door = remote.door(self.runtime)
        gatekeeper = Gatekeeper(context, self.callers.admits, door.knows)
        try:
            requests, for_all = bounded(context.socket(zmq.ROUTER), REQUESTS), self.runtime.machine_wide
            bind(requests, str(self.runtime.socket), for_all=for_all)
            self._followers = bind(bounded(events, EVENTS), str(self.runtime.events), for_all=for_all)
            self.events.on_event = self._publish
            for one, name in ((requests, REQUESTS), (self._followers, EVENTS)):
                self._connections.append(Connections(one, name, self.callers.refused_connection))
            for signal_number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(signal_number, self._stopping.set)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.registry.settings.reload)
            for tenant in self.registry.tenants.by_name.values():
                for run in tenant.runs:
                    self._watch(run.pid)
            self.registry.tenants.apportioner.lender.start()
            if keeping := self.registry.tenants.keeping:
                keeping.on_refusal = self.callers.refused_memory
                keeping.listen(asyncio.get_running_loop())
            ready()
            notify(READY)
            await web.open_configured(self.site, self.registry.settings.config.controller.web)
            letting_in = asyncio.create_task(gatekeeper.serve())
            receiving, others = asyncio.create_task(self._receive(requests, sender, self.callers.peer)), []
            if door.address:
                away = door.open(bounded(context.socket(zmq.ROUTER), REMOTE))
                others.append(asyncio.create_task(self._receive(away, remote_sender, self.callers.away)))
            ticking = asyncio.create_task(self._tick())
            reconciling = asyncio.create_task(self._reconcile())
            stopping = asyncio.create_task(self._stopping.wait())
            main = (letting_in, receiving, *others, ticking, reconciling, stopping)
            done, _ = await asyncio.wait(main, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a failure here is a fault in gshare: let it be seen
            running = (*main, *self._tasks)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        finally:
            notify(STOPPING)
            signal.alarm(SHUTDOWN_S)  # whatever hangs now must not keep the lock from the next controller
            self.site.close()
            for connections in self._connections:
                connections.close()
            events.close()  # not the context's own kind of socket: it would wait for it for ever
            context.destroy(linger=LINGER_MS)
            self.registry.tenants.close()

    async def _receive(
        self,
        requests: zmq.asyncio.Socket,
        sent_by: Callable[[zmq.Frame], Credentials | None],
        peer: Callable[[Credentials], Peer],
    ) -> None:
        inbox, hearing = Inbox(), zmq.Socket[bytes].shadow(requests)
        while True:
            if not inbox:
                await requests.poll()
            self._hear(hearing, sent_by, inbox)
            if not inbox:
                await asyncio.sleep(0)  # nothing of that was a request
                continue
            asked, go_on = inbox.take(), asyncio.get_running_loop().create_future()
            who, data = peer(asked.sender), asked.data.bytes
            for connections in self._connections:
                connections.relieve(who.uid)
            task = asyncio.create_task(self._answer(requests, who, asked.client, data, go_on))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.wait({task, go_on}, timeout=QUICK_S, return_when=asyncio.FIRST_COMPLETED)

    def _hear(
        self, requests: "zmq.Socket[bytes]", sent_by: Callable[[zmq.Frame], Credentials | None], inbox: Inbox
    ) -> None:
        """Take in all that has come: libzmq lets connections take turns, and not users."""
        with suppress(zmq.Again):
            for _ in range(AT_ONCE):
                frames = requests.recv_multipart(zmq.NOBLOCK, copy=False)
                credentials = sent_by(frames[-1])
                if len(frames) == 2 and credentials:  # which connection, and what is asked
                    asked = Asked(credentials, frames[0].bytes, frames[1])
                    if not inbox.put(asked):
                        self.callers.dropped(credentials)

    async def _answer(
        self, requests: zmq.asyncio.Socket, who: Peer, client: bytes, data: bytes, go_on: asyncio.Future[None]
    ) -> None:
        """Answer one request; `go_on` is done where others are not to wait for that."""
        message, reply, asked = 0, None, ""
        try:
            message, request = wire.unpack_request(data)
            asked = type(request).__name__
            reply = await self._carry_out(request, who, go_on)
            if not who.administrator:
                reply = self._for(who, reply)
        except BadMessage as error:
            message = error.message
            reply = Fault(
                "failed", "controller", str(error), "gshare controller upgrade; tenants keep their limits"
            )
        except GshareError as error:
            reply = wire.fault(error)
            if isinstance(error, NotPermitted):
                self.forbidden.note(who, asked, str(error), now_ns())
        except Exception as error:
            log.exception("request failed")
            reply = Fault("failed", "controller", f"fault in gshare: {error!r}", f"see {self.runtime.log}")
        with suppress(zmq.ZMQError):  # the client has gone, or does not read
            await requests.send_multipart([client, wire.pack(message, reply)])
        if isinstance(reply, Stopping):
            self._stopping.set()

    def _for(self, who: Peer, reply: Reply) -> Reply:
        """Of an answer what somebody who is no administrator may see."""

        @functools.cache
        def sees(tenant: str) -> bool:
            owned = self.registry.ownership(tenant)
            return owned is not None and authority.may_run(who, owned)

        return only_visible(reply, sees)

    async def _carry_out(self, request: protocol.Request, who: Peer, go_on: asyncio.Future[None]) -> Reply:
        registry = self.registry
        self.callers.check(who)
        request = permitted(who, request, registry)
        if isinstance(request, protocol.Admit):
            return await self._admit(request, who, go_on)
        if isinstance(request, protocol.SetLimits | protocol.SetQuota):
            if request.change.memory is not None or request.change.memory_on:
                await registry.capacities.measure(registry.machine_of(request))
            self.waiting.pump_soon()
            return (
                registry.set_limits(request, who)
                if isinstance(request, protocol.SetLimits)
                else registry.set_quota(request)
            )
        if isinstance(request, protocol.Pause):
            return registry.pause(request)
        if isinstance(request, protocol.GetProcesses):
            return views.processes(registry, self.sampler)
        if isinstance(request, protocol.GetShares):
            return self.watch.shares(now_ns())
        if isinstance(request, protocol.GetTop):
            return self.top(who)
        if isinstance(request, protocol.OpenWeb):
            if not self.site.address:
                authority.check_administrator(who, "web page")
            await self.site.open(request.port)
            return WebAddress(self.site.address)
        if isinstance(request, protocol.GetMemory):
            return charges(registry)
        if isinstance(request, protocol.GetEvents):
            self._collect()
            most = max(0, min(request.most, MOST_EVENTS))
            return Events(
                self.events.latest(
                    most, request.tenant, request.after, lambda event: authority.sees_event(who, event)
                )
            )
        if isinstance(request, protocol.GetStatus):
            return views.status(registry, self._started_ns, self.site.address)
        if isinstance(request, protocol.GetDevices):
            return views.devices(registry, request.machine)
        if isinstance(request, protocol.GetQuotas):
            return registry.quotas(request)
        if isinstance(request, protocol.RemoveQuota):
            self.waiting.pump_soon()
            return registry.remove_quota(request)
        if isinstance(request, protocol.GetQueue):
            return self.waiting.shown(who)
        if isinstance(request, protocol.Reload):
            wrong = registry.settings.reload()
            return Configuration(str(registry.settings.file), not any(one.fatal for one in wrong), wrong)
        assert isinstance(request, protocol.Stop)
        return Stopping(os.getpid())

    def _configured(self, config: Config) -> None:
        """A configuration was taken over."""
        self.callers.configured(config)
        self.idle_exit_s = self._idle_exit_s(config)
        self.waiting.pump_soon()

    def _waits(self, what: str, entry: Entry) -> None:
        request = entry.wish.request
        why = entry.refusal.why if entry.refusal else ""
        about = {"uid": entry.user, "pid": request.pid, "command": request.command, "why": why}
        self.events.add({"what": what, "tenant": request.tenant, **about})

    def top(self, who: Peer) -> Top:
        """The machine as it is now, with the queue as somebody may see it."""
        self._collect()
        queue = self.waiting.shown(who).waiting
        return picture(self.watch.shares(now_ns()), self.reconciler.strangers, self.refusals, queue)

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
        self._watch(request.pid)
        go_on.set_result(None)
        reply = await self.waiting.admit(request, who)
        if isinstance(reply, Admitted) and reply.tenant:
            self.registry.tenants.let_in(reply.tenant)
        return reply

    def _watch(self, pid: int) -> None:
        """Look at the tenants again as soon as the process ends."""
        if pid in self._watched:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return  # ended already, or no pidfd here: the next tick sees it
        self._watched[pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, pid)

    def _ended(self, pid: int) -> None:
        descriptor = self._watched.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self.registry.tenants.sweep()
        self.waiting.leave_of(pid)
        self.waiting.pump_soon()

    def tick(self, at_ns: int) -> None:
        """What is done once a second: clear away what ended, and take samples."""
        tenants = self.registry.tenants
        self.registry.settings.look()
        tenants.sweep()
        tenants.reconsider()
        self.waiting.pump_soon()
        for name in tenants.by_name:
            tenants.let_in(name)
        self.sampler.take(tenants.by_name.values(), at_ns)
        self.watch.take(at_ns)
        self._collect()

    async def _tick(self) -> None:
        """Tick, and leave when there has been nothing to do."""
        tenants = self.registry.tenants
        idle_since_ns, asked = now_ns(), 0
        while True:
            await asyncio.sleep(TICK_S)
            notify(ALIVE)
            self.tick(now_ns())
            if tenants.by_name or self._tasks or self.waiting or self.site.asked != asked:
                idle_since_ns, asked = now_ns(), self.site.asked
            elif self.idle_exit_s is not None and now_ns() - idle_since_ns >= self.idle_exit_s * 1e9:
                log.info("idle for %g s", self.idle_exit_s)
                return

    async def _reconcile(self) -> None:
        """Once a second, apart from the tick: a driver may take its time."""
        while True:
            await asyncio.sleep(self.reconciler.next_look_s)
            await self.reconciler.look()

    def _collect(self) -> None:
        """Make events of the refusals that nobody has told yet."""
        for tenant in self.registry.tenants.by_name.values():
            self.refusals.collect(tenant)

    def _publish(self, what: str, line: bytes) -> None:
        with suppress(zmq.ZMQError):
            self._followers.send_multipart([what.encode(), line], flags=zmq.NOBLOCK)
