"""Which functions of the driver the simulated one carries out: read from the library itself.

Every function of the CUDA headers is exported.  One that nobody wrote is a weak symbol whose body answers
CUDA_ERROR_NOT_SUPPORTED; the linker keeps that mark, so the table cannot say anything else than the library.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from pathlib import Path

from gshare.shim.sim import LIBRARY_DIR

__all__ = ["functions", "table"]

_SPELLING = re.compile(r"(_v\d)?(_ptsz|_ptds)?$")
_DYNSYM, _WEAK, _GLOBAL = 11, 2, 1


def functions(library: str | Path = Path(LIBRARY_DIR, "libcuda.so.1")) -> dict[str, bool]:
    """Return each exported function of the driver and whether it is implemented, in order of names.

    Raises OSError where the file cannot be read, and ValueError where it is no 64-bit ELF library.
    """
    image = Path(library).read_bytes()
    if image[:5] != b"\x7fELF\x02":
        raise ValueError(f"{library}: no 64-bit ELF file")
    offset, size, count = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, offset + i * size) for i in range(count)]
    found: dict[str, bool] = {}
    for _, kind, _, _, at, bytes_, link, _, _, entry in sections:
        if kind != _DYNSYM:
            continue
        names = sections[link][4]
        for symbol in range(at, at + bytes_, entry):
            name_at, info, _, section = struct.unpack_from("<IBBH", image, symbol)
            name = image[names + name_at : image.index(b"\0", names + name_at)].decode()
            if section and info >> 4 in (_WEAK, _GLOBAL) and name.startswith("cu"):
                found[name] = info >> 4 == _GLOBAL
    return dict(sorted(found.items()))


def table() -> str:
    """Return the list of all functions as Markdown: the spellings of each, and which are implemented."""
    spellings: dict[str, dict[str, bool]] = defaultdict(dict)
    everything = functions()
    for name, implemented in everything.items():
        spellings[_SPELLING.sub("", name)][name] = implemented
    lines = [
        "# The functions of the simulated driver",
        "",
        "Every function that `cuda.h` of CUDA 11.8 to 13.5 declares is exported, in all its spellings: "
        f"{len(everything)} names. {sum(everything.values())} are implemented; the others answer "
        "`CUDA_ERROR_NOT_SUPPORTED`. This page is what `python -m gshare.shim.sim.functions` prints.",
        "",
        "An implemented function may still answer so for what a device of that kind does not have.",
        "",
        "| function | implemented | not supported |",
        "|---|---|---|",
    ]
    for base, names in spellings.items():
        columns = (
            ", ".join(
                f"`{name.removeprefix(base) or name}`" for name, done in names.items() if done is wanted
            )
            for wanted in (True, False)
        )
        lines.append(f"| `{base}` | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
