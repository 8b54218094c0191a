"""Who asks, at each of the sockets, and who may at all: by the kernel's word and the groups configured."""

from gshare.controller import authority, identity
from gshare.controller.config import Config
from gshare.controller.errors import NotPermitted
from gshare.controller.forbidden import Forbidden
from gshare.controller.gatekeeper import REQUESTS
from gshare.controller.identity import Credentials, Peer
from gshare.controller.paths import Runtime
from gshare.controller.region import now_ns


class Callers:
    """All who ask; what they are refused here is noted."""

    def __init__(self, runtime: Runtime, forbidden: Forbidden) -> None:
        self._runtime = runtime
        self._forbidden = forbidden
        self._administrators: tuple[frozenset[int], ...] = ()
        self._group = ""
        self._users: frozenset[int] = frozenset()
        """Whose members may ask, where a group is named."""

    def configured(self, config: Config) -> None:
        """A configuration was taken over."""
        groups, users = [identity.ADMINISTRATORS, *config.administrators.groups], config.administrators.users
        if self._runtime.machine_wide:
            self._administrators = identity.group_ids(groups), identity.user_and_group_ids(users)[0]
            self._group = config.controller.group
            self._users = identity.group_ids([self._group] if self._group else [])

    def peer(self, credentials: Credentials) -> Peer:
        """Who has these credentials, and whether they administrate."""
        return identity.peer(credentials, *self._administrators)

    def admits(self, domain: str, credentials: Credentials) -> bool:
        """Whether a user may connect: to a controller of one's own nobody else may, nor all to the events."""
        return self.peer(credentials).administrator or (self._runtime.machine_wide and domain == REQUESTS)

    def check(self, who: Peer) -> None:
        """Raise NotPermitted for who is in no group that may use this controller."""
        authority.check_user(who, self._group, self._users)

    def away(self, credentials: Credentials) -> Peer:
        """The same of who asks from another machine: the key has let them in, whatever their groups."""
        who = self.peer(credentials)
        return who._replace(groups=who.groups | self._users)

    def on_page(self, credentials: Credentials) -> Peer:
        """Who looks at the web page; raise NotPermitted for who may not."""
        who = self.peer(credentials)
        try:
            if not who.administrator and not self._runtime.machine_wide:
                raise NotPermitted("web page", "is another user's")
            self.check(who)
        except NotPermitted as refusal:
            self._forbidden.note(who, "web page", str(refusal), now_ns())
            raise
        return who

    def refused_memory(self, tenant: str, credentials: Credentials) -> None:
        """The keeper has handed nothing to somebody."""
        who = self.peer(credentials)
        self._forbidden.note(who, "handover", f"tenant {tenant}: uid {who.uid} may not run in it", now_ns())

    def refused_connection(self, holder: int | str, credentials: Credentials) -> None:
        """A user, or an address, holds as many connections as one may."""
        who = Peer(*credentials, frozenset(), False)
        name = f"uid {holder}" if holder == who.uid else holder
        self._forbidden.note(who, "connect", f"{name} has too many connections open", now_ns())

    def dropped(self, credentials: Credentials) -> None:
        """A user asks faster than there can be answers."""
        who = Peer(*credentials, frozenset(), False)
        self._forbidden.note(who, "ask", f"uid {who.uid} has too many requests waiting", now_ns())
