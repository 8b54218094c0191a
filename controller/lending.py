"""The thread that lends what tenants do not use, and sleeps while nobody may borrow anything."""

import threading
import time
from collections.abc import Sequence

from gshare.controller.balance import PERIOD_NS, Device


class Lender:
    """The devices on which somebody may borrow.

    A thread of its own, since a request may keep the controller's main one busy for longer than
    it may take to get back what was lent.  `lock` is held by whoever writes shares.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._devices: Sequence[Device] = ()
        self._anything = threading.Event()
        self._closed = False

    def replace(self, devices: Sequence[Device]) -> None:
        """Look after these from now on; the caller has the lock."""
        self._devices = devices
        if devices:
            self._anything.set()
        else:
            self._anything.clear()

    def start(self) -> None:
        """Begin to lend, until closed."""
        threading.Thread(target=self._run, name="lender", daemon=True).start()

    def close(self) -> None:
        """Write nothing any more; what is lent ends with its lease."""
        with self.lock:
            self._closed = True
            self.replace(())
        self._anything.set()

    def tick(self, now_ns: int) -> None:
        """Look at every device once."""
        with self.lock:
            for device in self._devices:
                device.tick(now_ns)

    def _run(self) -> None:
        while not self._closed:
            self._anything.wait()
            time.sleep(PERIOD_NS / 1e9)
            self.tick(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
