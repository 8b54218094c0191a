"""Which programs are found, and into which our library can go."""

import struct
from pathlib import Path

import pytest

from gshare.cli import program
from gshare.controller.errors import GshareError, ProgramNotExecutable, ProgramNotFound


def elf(path: Path, interpreter: bytes, bits: int = 64, mode: int = 0o755) -> Path:
    """A file with an ELF header and one program header: enough to be judged by."""
    header = bytearray(64)
    header[:5] = b"\x7fELF" + bytes([2 if bits == 64 else 1])
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1 if interpreter else 0)
    entry = bytearray(56)
    struct.pack_into("<I", entry, 0, 3)
    struct.pack_into("<Q", entry, 8, 120)
    struct.pack_into("<Q", entry, 32, len(interpreter))
    path.write_bytes(bytes(header + entry) + interpreter)
    path.chmod(mode)
    return path


GLIBC, MUSL = b"/lib64/ld-linux-x86-64.so.2\0", b"/lib/ld-musl-x86_64.so.1\0"


def test_the_path_is_searched_as_a_shell_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "tool").mkdir()
    (tmp_path / "b" / "tool").write_text("")
    elf(tmp_path / "c" / "tool", GLIBC)
    monkeypatch.setenv("PATH", ":".join(str(tmp_path / folder) for folder in "abc"))
    assert program.find("tool").path == str(tmp_path / "c" / "tool")
    monkeypatch.setenv("PATH", str(tmp_path / "b"))
    with pytest.raises(ProgramNotExecutable, match="tool: not executable"):
        program.find("tool")
    with pytest.raises(ProgramNotFound, match="other: no such program"):
        program.find("other")
    with pytest.raises(ProgramNotFound):
        program.find("./tool")


@pytest.mark.parametrize(
    ("interpreter", "bits", "mode", "obstacle"),
    [
        (GLIBC, 64, 0o755, ""),
        (b"", 64, 0o755, "is statically linked: nothing can be preloaded into it"),
        (MUSL, 64, 0o755, "is a musl program"),
        (GLIBC, 32, 0o755, "is a 32-bit program"),
        (GLIBC, 64, 0o4755, "is set-user-ID: the loader ignores LD_PRELOAD"),
    ],
)
def test_what_keeps_the_library_out(
    tmp_path: Path, interpreter: bytes, bits: int, mode: int, obstacle: str
) -> None:
    found = program.find(str(elf(tmp_path / "x", interpreter, bits, mode)))
    assert found.obstacle == obstacle
    if not found.is_musl:
        assert program.check_preload(found, limited=False) == (not obstacle)
    if obstacle:
        with pytest.raises(GshareError, match=obstacle):
            program.check_preload(found, limited=True)


def test_a_musl_program_is_refused_without_limits_too(tmp_path: Path) -> None:
    with pytest.raises(GshareError, match="is a musl program"):
        program.check_preload(program.find(str(elf(tmp_path / "x", MUSL))), limited=False)


def test_a_script_is_judged_by_its_interpreter(tmp_path: Path) -> None:
    interpreter = elf(tmp_path / "x", MUSL)
    for text, musl in (
        (f"#!{interpreter} -u\n", True),
        ("#! /bin/sh\n", False),
        ("#!\n", False),
        ("x", False),
    ):
        script = tmp_path / "script"
        script.write_text(text)
        script.chmod(0o755)
        assert program.find(str(script)).is_musl == musl


def test_a_script_that_is_its_own_interpreter_is_left_to_the_kernel(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{script}\n")
    script.chmod(0o755)
    assert program.find(str(script)).obstacle == ""


def test_a_truncated_file_is_left_to_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x7fELF\x02")
    path.chmod(0o755)
    assert program.find(str(path)).path == str(path)
