"""What is done about whom the audit has found, and when: pure, time is an argument."""

from gshare.controller.config import Audit
from gshare.controller.suspicion import OVER_QUOTA, OVER_SHARE, TAMPERING, UNMANAGED, Suspect

NOTHING, WARN, PAUSE, STOP = range(4)
"""Each includes those before it."""

SECOND_NS = 1_000_000_000


def wanted(suspect: Suspect, rules: Audit) -> str:
    """What the configuration has for such a finding."""
    return {
        UNMANAGED: rules.unmanaged,
        OVER_QUOTA: rules.over_quota,
        TAMPERING: rules.tampering,
        OVER_SHARE: rules.over_share,
    }[suspect.what]


def pauses(suspect: Suspect, rules: Audit) -> bool:
    """Whether a tenant is paused for that, sooner or later."""
    return bool(suspect.tenant) and wanted(suspect, rules) in ("pause", "stop")


def step(suspect: Suspect, rules: Audit, since_ns: int, now_ns: int) -> int:
    """How far it has come with somebody who was found at `since_ns` and is still there.

    A warning first; who belongs to a tenant is paused before it is stopped.
    """
    word = wanted(suspect, rules)
    if word == "ignore":
        return NOTHING
    passed_s = (now_ns - since_ns) / SECOND_NS
    pause_s = rules.pause_after if suspect.tenant else 0.0
    if word == "stop" and passed_s >= pause_s + rules.stop_after:
        return STOP
    if pauses(suspect, rules) and passed_s >= pause_s:
        return PAUSE
    return WARN
