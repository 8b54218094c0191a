"""Those who ask to be let in: who asks at once is decided about together, and who is to wait is kept here.

A client that waits asks again and again, and each question is answered as soon as there is room, or after
HOLD_MS.  It is in the queue from its first question until it is let in, it ends, or it stops asking; a new
controller has the same queue as soon as everybody has asked it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gshare.controller import queue
from gshare.controller.admission import Admission, Wish
from gshare.controller.books import Books
from gshare.controller.budget import NoRoom, Sees
from gshare.controller.errors import GshareError
from gshare.controller.identity import Peer
from gshare.controller.processes import Run, user_name
from gshare.controller.protocol import Admit
from gshare.controller.queue import Attempt
from gshare.controller.region import now_ns
from gshare.controller.replies import Admitted, Queue, Queued, Waiting
from gshare.controller.shares import rank

HOLD_MS = 2000
"""A question is answered after this long at the latest, the first one once it has been tried."""

LONGEST_PAUSE_S = 0.1
SILENT_NS = 10_000_000_000
"""Who has not asked for so long does not wait any more."""

SECOND_NS = 1_000_000_000

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Entry:
    """Somebody who asked, until the answer is taken."""

    wish: Wish
    since_ns: int
    asked_ns: int
    answer: asyncio.Future[Admitted]
    asked_again: asyncio.Future[None]
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: NoRoom | None = None
    """Why it is not in yet."""
    kept: list[int] = field(default_factory=list)
    """The numbers of the GPUs that are kept for it."""

    @property
    def user(self) -> int:
        """Whose turn it would be."""
        return self.wish.who.uid

    @property
    def rank(self) -> int:
        """Higher goes first."""
        return rank(self.wish.limits)

    @property
    def waits(self) -> bool:
        """Whether it stays if it is not let in now."""
        return self.wish.request.wait_ms is not None

    def described(self, sees: Sees) -> str:
        """Who it is, as far as who asks may know."""
        name = self.wish.request.tenant
        who = f"tenant {name}" if name and sees(name) else f"a run of {user_name(self.user)}"
        return f"{who}, which has waited for {(now_ns() - self.since_ns) // SECOND_NS} s"


class WaitingRoom:
    """Everybody who asks; `pump` is called whenever there may be more room."""

    def __init__(self, admission: Admission, forget_run: Callable[[Run], None]) -> None:
        self.admission = admission
        self.tenants = admission.tenants
        self.forget_run = forget_run
        self.on_wait: Callable[[str, Entry], None] = lambda what, entry: None
        """Somebody begins to wait ("queued"), or does not wait any more ("dequeued")."""
        self._entries: dict[Run, Entry] = {}
        self._turns: dict[int, int] = {}
        self._order: list[Entry] = []
        self._pumping = False
        self._took_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._entries)

    async def admit(self, request: Admit, who: Peer) -> Admitted | Queued:
        """Let a run in, or have it wait; raise GshareError where it is refused."""
        run = Run(request.pid, request.start_ticks)
        entry = self._entries.get(run)
        if entry is None:
            self.forget_run(run)
        elif entry.answer.done():
            return self._taken(run, entry.answer.result())
        try:
            wish = self.admission.wish(request, who)
        except GshareError:
            self.leave(run)  # it could wait, and now it cannot be let in any more
            raise
        if isinstance(wish, Admitted):
            self.leave(run)
            return wish
        if entry is None:
            loop = asyncio.get_running_loop()
            futures = loop.create_future(), loop.create_future()
            entry = self._entries[run] = Entry(wish, _since(request), now_ns(), *futures)
        entry.wish, entry.asked_ns = wish, now_ns()
        self.pump_soon()
        if request.wait_ms is None:
            return self._taken(run, await entry.answer)
        hold_s = max(min(request.wait_ms, HOLD_MS), 0) / 1000
        if not entry.tried.is_set():  # then it is told to wait as soon as that is known
            await entry.tried.wait()
            hold_s = 0
        entry.asked_again.set_result(None)  # who asks anew is answered in the place of the last question
        again = entry.asked_again = asyncio.get_running_loop().create_future()
        await asyncio.wait({entry.answer, again}, timeout=hold_s, return_when=asyncio.FIRST_COMPLETED)
        if entry.answer.done():
            return self._taken(run, entry.answer.result())
        entry.asked_ns = now_ns()
        refusal = entry.refusal or NoRoom("run", "it is not your turn yet")
        place = self._order.index(entry) + 1 if entry in self._order else len(self._order)
        return Queued(place, len(self._order), refusal.what, refusal.why)

    def leave(self, run: Run) -> None:
        """Somebody has ended, or does not want it any more."""
        entry = self._entries.pop(run, None)
        if entry is None:
            return
        self._order = [other for other in self._order if other is not entry]
        if entry.refusal and not entry.answer.done():
            self.on_wait("dequeued", entry)
        self.pump_soon()

    def leave_of(self, pid: int) -> None:
        """The process has ended."""
        for run in [run for run in self._entries if run.pid == pid]:
            self.leave(run)

    def pump_soon(self) -> None:
        """Look whether there is room, after a pause of twice what the last look took: more may ask."""
        if self._entries and not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_later(min(2 * self._took_s, LONGEST_PAUSE_S), self._pump_now)

    def pump(self, at_ns: int) -> None:
        """Let in who can be let in, in their order; who does not wait is refused."""
        self.tenants.sweep()
        for run, entry in list(self._entries.items()):
            if not run.alive() or at_ns - entry.asked_ns > SILENT_NS:
                self.leave(run)
        now = self.admission.books()
        answers: list[tuple[Entry, Admitted | BaseException]] = []
        indices: dict[str, int] = {}

        def attempt(entry: Entry, kept: Mapping[str, Entry]) -> Attempt:
            entry.kept = []
            indices.update({found.uuid: found.index for found, _ in entry.wish.known})
            try:
                answers.append((entry, self._try(entry, now, kept)))
                return Attempt(True)
            except NoRoom as refusal:
                if entry.waits:
                    if entry.refusal is None:
                        self.on_wait("queued", entry)
                    entry.refusal = refusal
                    return Attempt(False, refusal.nearest)
                answers.append((entry, refusal))
            except GshareError as refusal:
                answers.append((entry, refusal))
            except Exception as fault:
                log.exception("admission failed")
                answers.append((entry, fault))
            return Attempt(False)

        patience_ns = int(self.admission.settings.config.admission.patience * SECOND_NS)
        asking = [entry for entry in self._entries.values() if not entry.answer.done()]
        with self.tenants.together():
            left, kept = queue.let_in(asking, self._turns, at_ns, patience_ns, attempt)
        for entry in asking:
            entry.tried.set()
        for uuid, entry in kept.items():
            entry.kept.append(indices[uuid])
        decided = {id(entry) for entry, _ in answers}
        self._order = [entry for entry in left if id(entry) not in decided]
        for entry, answer in answers:
            if isinstance(answer, BaseException):
                self._entries.pop(entry.wish.run, None)
                entry.answer.set_exception(answer)
                entry.answer.exception()  # who asked may be gone
            else:
                entry.answer.set_result(answer)

    def shown(self, who: Peer) -> Queue:
        """The queue; of others' runs only that they wait, and for what."""
        rows = []
        for place, entry in enumerate(self._order, 1):
            wish, own = entry.wish, who.administrator or who.uid == entry.user
            limits = wish.limits
            memory = limits.memory or (next(iter(limits.memory_on.values()), None))
            rows.append(
                Waiting(
                    place=place,
                    tenant=wish.request.tenant if own else "",
                    pid=wish.request.pid,
                    user=user_name(entry.user),
                    priority=limits.priority or "normal",
                    memory_bytes=memory.bytes if memory else None,
                    memory_ppm=memory.ppm if memory else None,
                    compute_ppm=limits.compute_ppm,
                    gpus=wish.request.gpus,
                    placement=wish.placement,
                    since_ns=entry.since_ns,
                    kept=sorted(entry.kept),
                    why=str(entry.refusal.why) if own and entry.refusal else "",
                    command=wish.request.command if own else "",
                )
            )
        return Queue(now_ns(), rows)

    def _pump_now(self) -> None:
        self._pumping = False
        begin_ns = now_ns()
        self.pump(begin_ns)
        self._took_s = (now_ns() - begin_ns) / SECOND_NS

    def _try(self, entry: Entry, now: Books, kept: Mapping[str, Entry]) -> Admitted:
        wish = entry.wish
        if wish.request.tenant in self.tenants.by_name:  # others of the tenant were faster: join them
            found = self.admission.wish(wish.request, wish.who)
            if isinstance(found, Admitted):
                return found
            wish = found
        return self.admission.let_in(wish, self.admission.room(wish, now, kept), now)

    def _taken(self, run: Run, admitted: Admitted) -> Admitted:
        self._entries.pop(run, None)
        return admitted


def _since(request: Admit) -> int:
    """When a run began to wait: as it says, but not before its process was started, nor later than now."""
    now = now_ns()
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - request.start_ticks * SECOND_NS // os.sysconf(
        "SC_CLK_TCK"
    )
    return max(min(request.since_ns or now, now), now - max(age_ns, 0))
