"""What follows when a configuration is taken over, or is not: for tenants that run, and in the events."""

from collections.abc import Callable

from gshare.controller.config import Config
from gshare.controller.errors import GshareError
from gshare.controller.events import Event
from gshare.controller.registry import Registry
from gshare.controller.replies import Wrong

IDLE_EXIT_S = 60.0


class Configured:
    """Tells who runs, and everybody who follows the events."""

    def __init__(
        self, registry: Registry, tell: Callable[[Event], None], then: Callable[[Config], None]
    ) -> None:
        self.registry = registry
        self.tell = tell
        self.then = then
        self._begun = False
        registry.settings.on_change = self._taken_over
        registry.settings.on_refusal = self._refused

    def _taken_over(self, config: Config, notes: list[Wrong]) -> None:
        if self._begun or notes:  # that a controller begins is no event
            self._event("configured", notes)
        self._begun = True
        for name in config.tenants:
            try:
                self.registry.reconfigure(name)
            except GshareError as error:
                self.tell({"what": "not-configured", "tenant": name, "why": str(error)})
        self.then(config)

    def _refused(self, wrong: list[Wrong]) -> None:
        self._event("misconfigured", wrong)

    def _event(self, what: str, wrong: list[Wrong]) -> None:
        file = str(self.registry.settings.file)
        self.tell({"what": what, "tenant": "", "file": file, "wrong": [str(one) for one in wrong]})


def idle_exit_s(said: float | None, config: Config, *, machine_wide: bool) -> float | None:
    """How long a controller stays with nobody to look after; None: for good.

    What was said when it was started goes first, then what is configured.
    """
    configured = config.controller.idle_exit
    default = 0.0 if machine_wide else IDLE_EXIT_S
    seconds = next(seconds for seconds in (said, configured, default) if seconds is not None)
    return seconds or None
