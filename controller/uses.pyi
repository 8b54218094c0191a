from typing import Final

UNCHARGED: Final[str]
NOT_HELD_BACK: Final[str]

class Uses:
    def add(
        self, at_ns: int, used_ns: int, charged_ns: int, spent_ns: int, allowed_ns: int, launches: int
    ) -> None: ...
    def over_share(self) -> tuple[str, int]: ...
