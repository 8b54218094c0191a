"""Native code only; everything declarative is in pyproject.toml."""

import os
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = "-std=gnu17 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter".split()
LDFLAGS = "-shared -Wl,-z,defs -Wl,-z,relro".split()


class Library(Extension):
    """A shared library that programs load, and Python never imports: it keeps its plain file name."""

    def __init__(self, name: str, sources: list[str], file_name: str, **options: list[str]) -> None:
        super().__init__(name, sources, **options)
        self.file_name = file_name


def headers(folder: str) -> list[str]:
    return sorted(glob(f"{folder}/*.h") + glob(f"{folder}/*.def"))


def library(name: str, folder: str, file_name: str, sources: list[str]) -> Library:
    return Library(
        name,
        sources,
        file_name,
        depends=headers(folder),
        extra_link_args=[f"-Wl,-soname,{file_name}", "-ldl", "-lpthread"],
    )


LIBRARIES = [
    library("gshare.shim.libgshare", "shim/src", "libgshare.so", sorted(glob("shim/src/*.c"))),
    library("gshare.benchmarks.libloops", "benchmarks", "libloops.so", ["benchmarks/loops.c"]),
]
MODULES = [
    Extension("gshare.shim.abi", ["shim/abi.pyx"], include_dirs=["shim/src"], depends=headers("shim/src")),
]
FILE_NAMES = {lib.name.rpartition(".")[2]: lib.file_name for lib in LIBRARIES}


class BuildExt(build_ext):
    """Libraries get a plain file name and none of Python's compiler flags (which would add a RUNPATH)."""

    def get_ext_filename(self, fullname: str) -> str:
        package, _, last = fullname.rpartition(".")  # called with the full name and with the last one alone
        if last in FILE_NAMES:
            return os.path.join(*package.split("."), FILE_NAMES[last])
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        if not isinstance(ext, Library):
            return super().build_extension(ext)
        target = self.get_ext_fullpath(ext.name)
        self.mkpath(os.path.dirname(target))
        cc = os.environ.get("CC", "cc").split()
        extra = os.environ.get("CFLAGS", "").split()  # -Werror and sanitizers in CI
        self.spawn([*cc, *CFLAGS, *extra, *ext.sources, *LDFLAGS, *ext.extra_link_args, "-o", target])


setup(ext_modules=[*LIBRARIES, *MODULES], cmdclass={"build_ext": BuildExt})
