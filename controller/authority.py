"""Who may do what: pure.  A user sees and changes what is theirs, an administrator everything."""

from typing import Any, NamedTuple

from gshare.controller.errors import NotPermitted, UsageError
from gshare.controller.identity import Peer
from gshare.controller.units import MOST_IN_NAME, parse_tenant

OWN = "@"
"""A tenant that a user names is NAME@UID: nobody can take a name that is, or will be, somebody else's."""


class Ownership(NamedTuple):
    """Whose a tenant is, and who else may run in it."""

    uid: int
    permanent: bool = False
    """Its limits are an administrator's word, which its owner does not change."""
    members: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


def owns(who: Peer, tenant: Ownership) -> bool:
    """Whether it is theirs: to see, pause and resume."""
    return who.administrator or who.uid == tenant.uid


def may_run(who: Peer, tenant: Ownership) -> bool:
    """Whether they may start programs in it, and see how these fare."""
    return owns(who, tenant) or who.uid in tenant.members or not who.groups.isdisjoint(tenant.groups)


def may_change(who: Peer, tenant: Ownership) -> bool:
    """Whether they may give it other limits."""
    return who.administrator or (owns(who, tenant) and not tenant.permanent)


def check_administrator(who: Peer, what: str) -> None:
    """Raise NotPermitted for anybody else."""
    if not who.administrator:
        raise NotPermitted(what, "is for administrators", "root, and the members of gshare-admin")


def check_user(who: Peer, group: str, members: frozenset[int]) -> None:
    """Raise NotPermitted for who is in none of the groups numbered so, where a group is named."""
    if group and not who.administrator and who.groups.isdisjoint(members):
        hint = f"root: usermod -aG {group} USER, who logs in anew"
        raise NotPermitted("the machine's controller", f"uid {who.uid} is not in group {group}", hint)


def check_run(who: Peer, name: str, tenant: Ownership) -> None:
    """Raise NotPermitted for who may not start programs in the tenant."""
    if not may_run(who, tenant):
        raise NotPermitted(
            f"--tenant {name}", f"uid {who.uid} may not run in it", "its owner is another user"
        )


def check_pause(who: Peer, what: str, name: str, tenant: Ownership) -> None:
    """Raise NotPermitted for who may not pause or resume the tenant."""
    if not owns(who, tenant):
        raise _not_theirs(f"{what} {name}")


def check_change(who: Peer, name: str, tenant: Ownership) -> None:
    """Raise NotPermitted for who may not give the tenant other limits."""
    if not owns(who, tenant):
        raise _not_theirs(f"set {name}")
    if not may_change(who, tenant):
        raise NotPermitted(
            f"set {name}", "its limits are a permanent quota", "an administrator changes it: gshare quota set"
        )


def sees_event(who: Peer, event: dict[str, Any]) -> bool:
    """Whether an event is theirs to see: of a tenant of theirs, or what they were refused themselves."""
    return who.administrator or who.uid in (event.get("owner_uid"), event.get("uid"))


def own_name(who: Peer, name: str) -> str:
    """What a user's new tenant is called in full; an administrator's is called as it is named.

    Raises UsageError for what is no name: it will be a folder's, which root makes and removes.
    """
    if not name:
        return name
    short, own, uid = name.partition(OWN)
    parse_tenant(short)
    if own and uid != str(who.uid) and not (who.administrator and uid.isascii() and uid.isdecimal()):
        raise NotPermitted(f"--tenant {name}", f"is not a name of uid {who.uid}'s")
    full = name if own or who.administrator else f"{name}{OWN}{who.uid}"
    if len(full) > MOST_IN_NAME:
        most = MOST_IN_NAME - len(full) + len(short)
        raise UsageError(f"--tenant {name}", "is too long", f"{most} characters at most")
    return full


def _not_theirs(what: str) -> NotPermitted:
    return NotPermitted(what, "belongs to another user", "see gshare ps for your own")
