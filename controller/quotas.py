"""The permanent tenants: those that `quota set` wrote down, and those of the configuration."""

import os

from gshare.controller import authority, identity, policy
from gshare.controller.answers import no_quota, quota_row
from gshare.controller.authority import Ownership
from gshare.controller.errors import GshareError
from gshare.controller.identity import Peer
from gshare.controller.permanent import Permanent
from gshare.controller.protocol import GetQuotas, Limits, SetQuota
from gshare.controller.replies import Quotas
from gshare.controller.settings import Settings
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenants

NOTHING = Permanent(Limits())


class PermanentTenants:
    """All of them, and whose they are."""

    def __init__(self, store: QuotaStore, settings: Settings, tenants: Tenants) -> None:
        self.store = store
        self.settings = settings
        self.tenants = tenants

    def all(self) -> dict[str, Permanent]:
        """By name; what is written by hand goes before what was set."""
        return {**self.store.load(), **self.settings.config.tenants}

    def ownership(self, name: str) -> Ownership | None:
        """Whose a tenant is, running or permanent; None where there is none of this name."""
        running, permanent = self.tenants.by_name.get(name), self.all().get(name)
        if permanent is None:
            return Ownership(running.owner_uid) if running else None
        uid = os.geteuid() if permanent.owner_uid is None else permanent.owner_uid
        return Ownership(uid, True, *identity.user_and_group_ids(permanent.members))

    def called(self, who: Peer, name: str) -> str:
        """The tenant that a user means: a permanent one, or their own of that name."""
        return name if name in self.all() else authority.own_name(who, name)

    def changed(self, request: SetQuota) -> Permanent:
        """A permanent tenant, which need not be there yet, as a request changes it."""
        before = self.all().get(request.tenant, NOTHING)
        return Permanent(
            policy.changed(before.limits, request.change),
            before.owner_uid if request.owner_uid is None else request.owner_uid,
            before.members if request.members is None else tuple(request.members),
            before.reserved if request.reserved is None else request.reserved,
        )

    def put(self, name: str, permanent: Permanent) -> None:
        """Write one down; raise GshareError where that cannot be done."""
        self._check_set(f"quota set {name}", name)
        self.store.put(name, permanent)

    def remove(self, name: str) -> Quotas:
        """Forget one; the answer tells what it was."""
        if name not in self.all():
            raise no_quota(name)
        self._check_set(f"quota rm {name}", name)
        was = self.rows([name])
        self.store.remove(name)
        return was

    def shown(self, request: GetQuotas) -> Quotas:
        """All of them, or the one asked for."""
        if request.tenant and request.tenant not in self.all():
            raise no_quota(request.tenant)
        return self.rows([request.tenant] if request.tenant else sorted(self.all()))

    def rows(self, names: list[str]) -> Quotas:
        """As they are shown."""
        found, by_hand = self.all(), self.settings.config.tenants
        return Quotas(
            [
                quota_row(name, found[name], running=name in self.tenants.by_name, by_hand=name in by_hand)
                for name in names
            ]
        )

    def _check_set(self, what: str, name: str) -> None:
        if name in self.settings.config.tenants:
            file = self.settings.file
            raise GshareError(what, f"is written in {file}", "change it there: it is read again at once")
