"""The thread that lends what tenants do not use, and sleeps while nobody may borrow anything."""

import threading
from collections.abc import Sequence

from gshare.controller.balance import Device, Round


class Lender:
    """The devices on which somebody may borrow.

    A thread of its own, since a request may keep the controller's main one busy for longer than
    it may take to get back what was lent.  Whoever writes shares does so within `paused`.
    """

    def __init__(self) -> None:
        self.paused = Round()
        self._anything = threading.Event()
        self._closed = False

    def replace(self, devices: Sequence[Device]) -> None:
        """Look after these from now on; called within `paused`."""
        self.paused.replace(devices)
        if devices:
            self._anything.set()
        else:
            self._anything.clear()

    def start(self) -> None:
        """Begin to lend, until closed."""
        threading.Thread(target=self._run, name="lender", daemon=True).start()

    def close(self) -> None:
        """Write nothing any more; what is lent ends with its lease."""
        with self.paused:
            self._closed = True
            self.replace(())
        self._anything.set()

    def tick(self, now_ns: int) -> None:
        """Look at every device once."""
        with self.paused:
            self.paused.tick(now_ns)

    def _run(self) -> None:
        while not self._closed:
            self._anything.wait()
            self.paused.run()
