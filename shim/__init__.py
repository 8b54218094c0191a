"""What runs inside other people's programs: the preloaded library, and the way into a program for it."""

from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "LIBRARY",
    "TENANT_DIR_VARIABLE",
    "TRACE_LINE_BYTES",
    "TRACE_VARIABLE",
    "PreloadError",
    "preload_environment",
]

LIBRARY = Path(__file__).resolve().parent / "libgshare.so"
"""The library that a limited program is started with."""

TENANT_DIR_VARIABLE = "GSHARE_TENANT_DIR"
"""Names the directory with the tenant's files; a program without it runs as if gshare were not there."""


TRACE_VARIABLE = "GSHARE_TRACE_MEMORY"
"""Names the file that a program of a tenant writes every change of a charge to, in lines of one length."""

TRACE_LINE_BYTES = 256


class PreloadError(Exception):
    """The library cannot be preloaded from where it is; the message says what to do."""


def preload_environment(
    tenant_dir: str | Path, environ: Mapping[str, str], *, library: str | Path = LIBRARY
) -> dict[str, str]:
    """Return `environ` changed so that a program started with it runs under the tenant's limits.

    Our library goes in front of what is preloaded already, and a second entry of it is dropped.

    Raises PreloadError where LD_PRELOAD cannot name the library: it knows no quoting.
    """
    path = str(library)
    if any(character.isspace() or character == ":" for character in path):
        raise PreloadError(
            f"{path}: LD_PRELOAD cannot name a path with a space or colon (install gshare elsewhere)"
        )
    others = [entry for entry in environ.get("LD_PRELOAD", "").replace(":", " ").split() if entry != path]
    return {**environ, "LD_PRELOAD": ":".join([path, *others]), TENANT_DIR_VARIABLE: str(tenant_dir)}
