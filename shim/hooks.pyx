# cython: language_level=3
"""The rows of src/hooks.def: every function of the driver and of NVML, and what becomes of it."""

from typing import NamedTuple

cdef extern from *:
    """
    struct hook_row {
        const char *library, *hook_class, *name;
        int hooked;
    };

    #define HOOK(library, hook_class, name, params, args) {#library, #hook_class, #name, 1},
    #define NEED(library, hook_class, name, params, args) {#library, #hook_class, #name, 0},
    #define PASS(library, hook_class, name) {#library, #hook_class, #name, 0},
    static const struct hook_row hook_rows[] = {
    #include "hooks.def"
    };
    enum { HOOK_ROWS = sizeof hook_rows / sizeof *hook_rows };
    """
    struct hook_row:
        const char *library
        const char *hook_class
        const char *name
        int hooked
    const hook_row hook_rows[]
    const int HOOK_ROWS


class Hook(NamedTuple):
    """One row of hooks.def."""

    library: str
    hook_class: str
    name: str
    hooked: bool


def _row(int i):
    cdef const hook_row *row = &hook_rows[i]
    return Hook(row.library.decode(), row.hook_class.decode(), row.name.decode(), bool(row.hooked))


HOOKS = tuple(_row(i) for i in range(HOOK_ROWS))
