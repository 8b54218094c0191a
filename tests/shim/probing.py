"""The doors of tests/probes, and the program that tries them, step by step."""

from __future__ import annotations

import json
import re
import select
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "probes"
ANSWER_S = 60.0
ROADS = ("linked", "dlsym", "procaddress")

# How a door's charge is related to what the device loses.
EXACT, BOUNDED, NOTHING, COVERED, MOVES = "EXACT", "BOUNDED", "NOTHING", "COVERED", "MOVES"


# What the simulated driver does not have, or does not carry out, and what it answers.
ABSENT, NOT_FOUND, NOT_SUPPORTED = -1, 500, 801
NOT_CARRIED_OUT = {
    "cuGLCtxCreate": ABSENT,
    "cuGLCtxCreate_v2": ABSENT,
    "cuVDPAUCtxCreate": ABSENT,
    "cuVDPAUCtxCreate_v2": ABSENT,
    "cuExternalMemoryGetMappedMipmappedArray": NOT_SUPPORTED,
    "cuLibraryGetManaged": NOT_FOUND,
}


class Door(NamedTuple):
    """A row of doors.def: a function that may take device memory."""

    number: int
    name: str
    variant: str
    kind: str
    charge: str

    def __str__(self) -> str:
        return f"{self.name}, {self.variant}" if self.variant else self.name


class Way(NamedTuple):
    """A row of doors.def: how what a door made is given back."""

    number: int
    kind: str
    name: str
    give: str
    setting: str

    @property
    def ends_context(self) -> bool:
        """Whether the surroundings go with it."""
        return self.give in {"end_context", "end_primary"}

    def __str__(self) -> str:
        return f"{self.name} ({self.setting.lower()})"


def _rows() -> tuple[list[Door], list[Way]]:
    """Expand doors.def as the compiler does."""
    text = re.sub(r"/\*.*?\*/", "", (FOLDER / "doors.def").read_text(), flags=re.S).replace("\\\n", "")
    macros = dict(re.findall(r"^#define (\w+_WAYS)\(kind\)(.*)$", text, re.M))
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    for name, body in macros.items():
        text = re.sub(
            rf"^{name}\((\w+)\)$",
            lambda found, body=body: re.sub(r"\bkind\b", found[1], body),  # type: ignore[misc]
            text,
            flags=re.M,
        )
    doors = re.findall(r'DOOR\((\w+),\s*"(.*?)",\s*\w+,\s*(\w+),\s*(\w+)\)', text)
    ways = re.findall(r"\bWAY\((\w+), (\w+), (\w+), (\w+)\)", text)
    return [Door(i, *row) for i, row in enumerate(doors)], [Way(i, *row) for i, row in enumerate(ways)]


DOORS, WAYS = _rows()
VERSIONS = {
    name: int(version)
    for name, version in re.findall(
        r"^FUNCTION\((\w+), \w+, (\d+),", (FOLDER / "functions.def").read_text(), re.M
    )
}
"""That each function came with, as `cuGetProcAddress` is asked for it."""


def ways_of(door: Door) -> list[Way]:
    return [way for way in WAYS if way.kind == door.kind]


def build(folder: Path, libcuda: Path) -> dict[str, Path]:
    """Compile the program, plain and linked with a driver; returns it for each road."""
    command = ["gcc", "-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{ROOT}/tests/golden/recorder", *map(str, sorted(FOLDER.glob("*.c")))]
    plain, linked = folder / "probes", folder / "probes-linked"
    libraries = ["-ldl", "-lpthread"]
    link = ["-DLINKED", f"-L{libcuda.parent}", "-Wl,--no-as-needed", f"-l:{libcuda.name}"]
    subprocess.run([*command, *libraries, "-o", str(plain)], check=True)
    subprocess.run([*command, *link, *libraries, "-o", str(linked)], check=True)
    return {road: linked if road == "linked" else plain for road in ROADS}


class Probes:
    """The program, running, on one road."""

    def __init__(self, command: Iterable[str | Path], environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Have one step done; the answer."""
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(command + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], ANSWER_S)[0]:
            process.kill()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with {process.wait()} at: {command}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def prepare(self, door: Door, way: Way) -> int:
        return int(self.ask(f"prepare {door.number} {way.number}")["code"])

    def take(self) -> int:
        return int(self.ask("take")["code"])

    def give(self, look: Callable[[str], None] = lambda what: None) -> int:
        """Give back; `look` is called in the midst of it, as often as there is something to see."""
        answer = self.ask("give")
        while "look" in answer:
            look(answer["look"])
            answer = self.ask("")
        return int(answer["code"])

    def leave(self) -> int:
        return int(self.ask("leave")["code"])

    def free(self) -> int:
        """What the driver says is free."""
        return int(self.ask("info")["free"])

    def pad(self, bytes_: int = 0) -> int:
        return int(self.ask(f"pad {bytes_}")["code"])

    @contextmanager
    def or_killed(self) -> Iterator[Probes]:
        """Whatever goes wrong meanwhile, nobody goes on from there."""
        try:
            yield self
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
