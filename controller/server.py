"""The controller's process: sockets, clock and signals around the registry."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import zmq
import zmq.asyncio

from gshare.controller import remote, web
from gshare.controller.answering import Answering
from gshare.controller.channel import Channel
from gshare.controller.config import Config
from gshare.controller.configured import Configured
from gshare.controller.connections import ADDRESSES, Connections
from gshare.controller.events import EventLog
from gshare.controller.gatekeeper import EVENTS, REMOTE, REQUESTS, Gatekeeper, remote_sender, sender
from gshare.controller.identity import Credentials, Peer
from gshare.controller.inbox import Asked, Inbox
from gshare.controller.memory import Memory
from gshare.controller.notify import ALIVE, READY, STOPPING, notify
from gshare.controller.paths import Runtime
from gshare.controller.pieces import Work, at_once, by_turns
from gshare.controller.reconcile import Reconciler
from gshare.controller.refusals import Refusals
from gshare.controller.region import now_ns
from gshare.controller.registry import Registry
from gshare.controller.sockets import LINGER_MS, bind, bounded

log = logging.getLogger(__name__)

TICK_S = 1.0
SHUTDOWN_S = 5

QUICK_S = 0.02
"""Longer is no answer waited for before the next request is begun."""


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
        self.reconciler = reconciler
        reconciler.rules = lambda: registry.settings.config.audit
        self.idle_exit_s: float | None = None
        events.owner_of = registry.tenants.owners.get
        self._stopping = asyncio.Event()
        self._connections: list[Connections] = []
        self._memory = Memory()
        self._watched: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_exit_s = idle_exit_s
        self.answering = Answering(
            runtime, registry, events, refusals, reconciler, self._stopping.set, self._watch
        )
        self.waiting, self.site = self.answering.waiting, self.answering.site
        self.callers = self.answering.callers
        Configured(registry, events.add, self._configured)
        registry.settings.start()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Answer requests until stopped or idle; `ready` is called once clients are heard."""
        context = zmq.asyncio.Context()
        events = zmq.Socket(context, zmq.PUB)
        door = remote.door(self.runtime)
        gatekeeper = Gatekeeper(context, self.callers.admits, door.knows)
        channels: list[Channel] = []
        try:
            for_all = self.runtime.machine_wide
            channels.append(Channel(bounded(zmq.Socket(context, zmq.ROUTER), REQUESTS)))
            bind(channels[0].socket, str(self.runtime.socket), for_all=for_all)
            self._followers = bind(bounded(events, EVENTS), str(self.runtime.events), for_all=for_all)
            self.events.on_event = self._publish
            for one, name in ((channels[0].socket, REQUESTS), (self._followers, EVENTS)):
                self._connections.append(Connections(one, name, self.callers.refused_connection))
            if door.address:
                channels.append(Channel(bounded(zmq.Socket(context, zmq.ROUTER), REMOTE)))
                away = door.open(channels[1].socket)
                self._connections.append(
                    Connections(away, REMOTE, self.callers.refused_connection, ADDRESSES)
                )
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
            here = self._receive(channels[0], sender, self.callers.peer, tuple(self._connections[:2]))
            hearing = [asyncio.create_task(here)]
            if door.address:
                looked_after = (self._connections[2],)
                there = self._receive(channels[1], remote_sender, self.callers.away, looked_after)
                hearing.append(asyncio.create_task(there))
            ticking = asyncio.create_task(self._tick())
            reconciling = asyncio.create_task(self._reconcile())
            stopping = asyncio.create_task(self._stopping.wait())
            main = (letting_in, *hearing, ticking, reconciling, stopping)
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
            await self.site.close()
            for connections in self._connections:
                connections.close()
            for channel in channels:
                channel.close()
            events.close()  # not the context's own kind of socket: it would wait for it for ever
            context.destroy(linger=LINGER_MS)
            self.registry.tenants.close()

    async def _receive(
        self,
        channel: Channel,
        sent_by: Callable[[zmq.Frame], Credentials | None],
        peer: Callable[[Credentials], Peer],
        looked_after: tuple[Connections, ...],
    ) -> None:
        inbox = Inbox()
        while True:
            for frames in channel.hear():  # all: libzmq lets connections take turns, and not users
                credentials = sent_by(frames[-1])
                if len(frames) == 2 and credentials:  # which connection, and what is asked
                    asked = Asked(credentials, frames[0].bytes, frames[1])
                    if not inbox.put(asked):
                        self.callers.dropped(credentials)
            if not inbox:
                await channel.stirred()
                continue
            asked = inbox.take()
            who = peer(asked.sender)
            for connections in looked_after:
                connections.relieve(asked)
            if slow := self.answering.answer(channel, who, asked):
                await self._let_go_on(*slow)
            elif inbox:
                await asyncio.sleep(0)

    async def _let_go_on(self, answering: Coroutine[Any, Any, None], go_on: asyncio.Future[None]) -> None:
        """Wait a moment for an answer that takes its time."""
        task = asyncio.create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task, go_on}, timeout=QUICK_S, return_when=asyncio.FIRST_COMPLETED)

    def _configured(self, config: Config) -> None:
        """A configuration was taken over."""
        self.callers.configured(config)
        self.idle_exit_s = self._idle_exit_s(config)
        self.waiting.pump_soon()

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
        at_once(self.ticking(at_ns))

    def ticking(self, at_ns: int) -> Work[None]:
        """The same in pieces."""
        tenants = self.registry.tenants
        self._memory.look(self._connections)
        self.registry.settings.look()
        tenants.sweep()
        self.waiting.pump_soon()
        for name in tenants.by_name:
            tenants.let_in(name)
        yield
        self.answering.sampler.take(tenants.by_name.values(), at_ns)
        yield
        watch = self.answering.watch
        watch.take(at_ns)
        yield
        tenants.reconsider(watch.seen())
        yield
        self.answering.collect()

    async def _tick(self) -> None:
        """Tick, and leave when there has been nothing to do."""
        tenants = self.registry.tenants
        idle_since_ns, asked = now_ns(), 0
        while True:
            await asyncio.sleep(TICK_S)
            notify(ALIVE)
            await by_turns(self.ticking(now_ns()))
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

    def _publish(self, what: str, line: bytes) -> None:
        with suppress(zmq.ZMQError):
            self._followers.send_multipart([what.encode(), line], flags=zmq.NOBLOCK)
