from typing import Final, NamedTuple

class Hook(NamedTuple):
    library: str
    hook_class: str
    name: str
    hooked: bool

HOOKS: Final[tuple[Hook, ...]]
