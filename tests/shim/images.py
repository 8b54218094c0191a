"""Module images made by hand: PTX, cubins and fat binaries with as much in them as a test needs."""

from __future__ import annotations

import struct

HEAD = ".version 6.0\n.target sm_50\n.address_size 64\n"
PTX, CUBIN = 1, 2
PROGBITS, SYMTAB, STRTAB, NOBITS = 1, 2, 3, 8
OBJECT = 1


def ptx(*declarations: str) -> bytes:
    """Return a text with these declarations and a kernel `k`."""
    return (HEAD + "".join(f"{line}\n" for line in declarations) + ".visible .entry k() { ret; }\n").encode()


def cubin(arch: int = 89, many_sections: bool = False, **variables: tuple[str, int]) -> bytes:
    """Return a cubin without code whose variables are `name=(section, bytes)`, one section for each.

    With `many_sections` their number is told as it is where it passes 16 bits.
    """
    names = b"\0.shstrtab\0.strtab\0.symtab\0"
    strings = b"\0"
    symbols = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    sections = []
    for index, (name, (section, size)) in enumerate(variables.items()):
        kind = NOBITS if section == ".nv.global" else PROGBITS
        symbols += struct.pack("<IBBHQQ", len(strings), 0x10 | OBJECT, 0, 4 + index, 0, size)
        strings += name.encode() + b"\0"
        sections.append((len(names), kind, b"" if kind == NOBITS else bytes(size), size, 0))
        names += section.encode() + b"\0"
    first = [
        (1, STRTAB, names, len(names), 0),
        (11, STRTAB, strings, len(strings), 0),
        (19, SYMTAB, symbols, len(symbols), 2),
    ]
    body, table, offset = b"", bytes(0), 64
    for name_at, kind, content, size, link in (*first, *sections):
        table += struct.pack("<IIQQQQIIQQ", name_at, kind, 3, 0, offset, size, link, 0, 8, 24)
        body += content
        offset += len(content)
    count = 1 + len(first) + len(sections)
    told = (0, 0xFFFF) if many_sections else (count, 1)
    null = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, count if many_sections else 0, 1, 0, 0, 0)
    ident = b"\x7fELF\x02\x01\x01\x33\x07" + bytes(7)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, offset, arch, 64, 0, 0, 64, *told)
    return header + body + null + table


def part(kind: int, content: bytes, arch: int = 89, unpacked: int = 0) -> bytes:
    """Return a part of a fat binary; with `unpacked` it claims to be compressed, and so long."""
    flags = 0x2000 if unpacked else 0
    head = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x101, 64, len(content), len(content) if unpacked else 0, 0,
                       0, 9, arch, 0, 0, flags, 0, unpacked)  # fmt: skip
    return head + content


def stored(kind: int, content: bytes, arch: int = 89) -> bytes:
    """Return a compressed part in LZ4's format, of literals only."""
    more = len(content) - 15
    literals = bytes([0xF0]) + b"\xff" * (more // 255) + bytes([more % 255]) + content
    return part(kind, literals, arch, unpacked=len(content))


def fatbin(*parts: bytes) -> bytes:
    """Return a fat binary of these parts."""
    content = b"".join(parts)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(content)) + content
