"""Native code only; everything declarative is in pyproject.toml."""

import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = "-std=gnu17 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter".split()
LDFLAGS = "-shared -Wl,-z,defs -Wl,-z,relro".split()

# libgshare.so lives in other people's processes: distributions' hardening would add symbols of a new C
# library, thread-local storage must not need the loader, and another preloaded library must not change what
# our own names mean inside it.
GUEST_CFLAGS = "-U_FORTIFY_SOURCE -fno-stack-protector -ftls-model=initial-exec".split()
GUEST_LDFLAGS = "-nodefaultlibs -Wl,--no-as-needed -l:libc_nonshared.a -lgcc".split()
FIRST_GLIBC = {"x86_64": "2.2.5", "aarch64": "2.17"}


class Library(Extension):
    """A shared library that programs load, and Python never imports: it keeps its plain file name."""

    def __init__(self, name: str, sources: list[str], file_name: str, **options: list[str]) -> None:
        super().__init__(name, sources, **options)
        self.file_name = file_name


class Guest(Library):
    """A library that also loads where the C library is much older than the one it was built on (2.17)."""


class Driver(Library):
    """A library that uses its own functions whatever another one exports under their names, as NVIDIA's do.

    One without sources is a second name for the one built before it.
    """


def files(folders: list[str], *suffixes: str) -> list[str]:
    return sorted(name for folder in folders for suffix in suffixes for name in glob(f"{folder}/*{suffix}"))


def library(
    name: str,
    file_name: str,
    folders: list[str],
    kind: type[Library] = Library,
    include: Sequence[str] = (),
) -> Library:
    return kind(
        name,
        files(folders, ".c"),
        file_name,
        include_dirs=[*folders, *include],
        depends=files([*folders, *include], ".h", ".def", ".txt", ".map"),
        extra_link_args=["-ldl", "-lpthread", *(f"-Wl,--version-script={f}" for f in files(folders, ".map"))],
    )


def sim(*folders: str) -> list[str]:
    return [f"shim/sim/{folder}" for folder in folders]


# The simulated GPU: the machine itself is in both of its libraries and in the Python module that reads it.
MACHINE = sim("core")
CUDA = sim("core", "driver", "stream", "memory", "graph", "code")

LIBRARIES = [
    library("gshare.shim.libgshare", "libgshare.so", ["shim/src"], Guest),
    library("gshare.shim.sim.libcuda", "libcuda.so.1", CUDA, Driver),
    library("gshare.shim.sim.libcuda_unversioned", "libcuda.so", [], Driver),
    library("gshare.shim.sim.libnvidia_ml", "libnvidia-ml.so.1", [*MACHINE, *sim("nvml")], Driver),
    library("gshare.shim.sim.libcudart", "libcudart.so.13", sim("cudart"), Driver, include=sim("driver")),
    library("gshare.shim.sim.libsimclock", "libsimclock.so", sim("clock"), include=MACHINE),
    library("gshare.benchmarks.libloops", "libloops.so", ["benchmarks"]),
]
SHARED = [*files(["shim"], ".pxi"), *files(["shim/src"], ".h")]
LENDING = [*files(["controller"], ".pxi"), *SHARED]
MODULES = [
    Extension("gshare.shim.layout", ["shim/layout.pyx"], include_dirs=["shim/src"], depends=SHARED),
    Extension("gshare.shim.abi", ["shim/abi.pyx"], include_dirs=["shim/src"], depends=SHARED),
    Extension(
        "gshare.shim.hooks", ["shim/hooks.pyx"], include_dirs=["shim/src"], depends=["shim/src/hooks.def"]
    ),
    Extension("gshare.controller.fill", ["controller/fill.pyx"], depends=["controller/fill.pxi"]),
    Extension("gshare.controller.uses", ["controller/uses.pyx"]),
    Extension(
        "gshare.controller.balance",
        ["controller/balance.pyx"],
        include_dirs=["shim/src"],
        depends=LENDING,
    ),
    Extension(
        "gshare.controller.minute", ["controller/minute.pyx"], include_dirs=["shim/src"], depends=LENDING
    ),
    Extension(
        "gshare.shim.sim.machine",
        ["shim/sim/machine.pyx", *files(MACHINE, ".c")],
        include_dirs=MACHINE,
        depends=files(MACHINE, ".h"),
    ),
]
FILE_NAMES = {lib.name.rpartition(".")[2]: lib.file_name for lib in LIBRARIES}


class BuildExt(build_ext):
    """Libraries get a plain file name and none of Python's compiler flags (which would add a RUNPATH)."""

    def get_ext_filename(self, fullname: str) -> str:
        package, _, last = fullname.rpartition(".")  # called with the full name and with the last one alone
        if last in FILE_NAMES:
            return os.path.join(*package.split("."), FILE_NAMES[last])
        return super().get_ext_filename(fullname)

    def build_extensions(self) -> None:
        """The libraries beside each other and beside the modules; a second name after what it names."""
        libraries = [ext for ext in self.extensions if isinstance(ext, Library) and ext.sources]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            built = [pool.submit(self.build_extension, ext) for ext in libraries]
            for ext in self.extensions:
                if not isinstance(ext, Library):
                    self.build_extension(ext)
            for one in built:
                one.result()
        for ext in self.extensions:
            if not ext.sources:
                self.build_extension(ext)

    def build_extension(self, ext: Extension) -> None:
        if not isinstance(ext, Library):
            return super().build_extension(ext)
        target = self.get_ext_fullpath(ext.name)
        self.mkpath(os.path.dirname(target))
        cc = os.environ.get("CC", "cc").split()
        cflags = [*CFLAGS, *os.environ.get("GSHARE_CFLAGS", "").split()]  # CI: -Werror, sanitizers
        ldflags = [*LDFLAGS, f"-Wl,-soname,{ext.file_name}"]
        libraries = ext.extra_link_args
        if isinstance(ext, Driver):
            ldflags.append("-Wl,-Bsymbolic")
            ldflags.append("-Wl,-z,nodelete")  # its helper thread outlives a dlclose
            if not ext.sources:
                first = next(lib for lib in LIBRARIES if isinstance(lib, Driver))
                libraries = ["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN", self.get_ext_fullpath(first.name)]
        if isinstance(ext, Guest):
            cflags += GUEST_CFLAGS
            ldflags.append("-Wl,-Bsymbolic")
            sanitized = any(flag.startswith("-fsanitize") for flag in cflags)
            if not sanitized:  # their runtimes need this system's libc
                libraries = [*GUEST_LDFLAGS, *self.old_libc(cc)]
        cflags += [f"-I{folder}" for folder in ext.include_dirs]
        self.spawn([*cc, *cflags, *ext.sources, *ldflags, *libraries, "-o", target])

    def old_libc(self, cc: list[str]) -> list[str]:
        """Stand-ins for the C library, to link with: the functions of libc.txt under their versions."""
        libraries: dict[str, dict[str, list[str]]] = {}
        for line in Path("shim/src/libc.txt").read_text().splitlines():
            if line.startswith("#"):
                continue
            library, version, *names = line.split()
            first = FIRST_GLIBC.get(platform.machine(), FIRST_GLIBC["aarch64"])
            newest = max(version, first, key=lambda text: tuple(map(int, text.split("."))))
            libraries.setdefault(library, {}).setdefault(newest, []).extend(names)
        folder = Path(self.build_temp, "libc")
        folder.mkdir(parents=True, exist_ok=True)
        for library, versions in libraries.items():
            names = [name for group in versions.values() for name in group]
            code, script, target = (folder / f"{library}{suffix}" for suffix in (".s", ".map", ""))
            code.write_text("".join(f".globl {n}\n.type {n}, %function\n{n}:\n" for n in names))
            script.write_text("".join(f"GLIBC_{v} {{ {'; '.join(g)}; }};\n" for v, g in versions.items()))
            options = ["-shared", "-nostdlib", f"-Wl,-soname,{library}", f"-Wl,--version-script={script}"]
            self.spawn([*cc, *options, str(code), "-o", str(target)])
        return [str(folder / library) for library in libraries]


setup(ext_modules=[*LIBRARIES, *MODULES], cmdclass={"build_ext": BuildExt})
