"""What libgshare.so shows to, and wants from, the process that it is loaded into."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT
from interception import HOOKED, Programs, as_shipped, run

from gshare.shim import LIBRARY

pytestmark = as_shipped
NEWEST_GLIBC = (2, 17)
ENV = "GSHARE_TEST_OLD_ROOT"


def read(*command: str) -> str:
    done = run([*command, LIBRARY], os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported() -> dict[str, str]:
    """Return what the library imports, and its version: "" for the weak names that the linker adds."""
    rows = re.findall(r"\*UND\*\s+\S+\s+\(?(\S+?)\)?\s+(\S+)$", read("objdump", "-T"), re.M)
    return {name: version if version.startswith("GLIBC") else "" for version, name in rows}


def test_it_exports_the_hooks_and_the_loaders_three_and_nothing_else() -> None:
    exported = re.findall(r"^\S+ \S (\S+)$", read("nm", "-D", "--defined-only"), re.M)

    assert sorted(exported) == sorted(HOOKED | {"dlsym", "dlvsym", "dlopen"})


def test_it_needs_these_libraries_and_no_search_path() -> None:
    dynamic = read("readelf", "-d")

    assert re.findall(r"NEEDED.*\[(.*)\]", dynamic) == ["libdl.so.2", "libpthread.so.0", "libc.so.6"]
    assert re.findall(r"SONAME.*\[(.*)\]", dynamic) == ["libgshare.so"]
    assert "RUNPATH" not in dynamic
    assert "RPATH" not in dynamic


def test_it_calls_exactly_what_its_list_allows() -> None:
    """The list is the audit of what we can do to somebody's process: nothing beyond it, nothing stale."""
    lines = (ROOT / "shim/src/libc.txt").read_text().splitlines()
    listed = {name for line in lines if not line.startswith("#") for name in line.split()[2:]}
    weak = {"_ITM_registerTMCloneTable", "_ITM_deregisterTMCloneTable", "__gmon_start__"}

    by_the_compiler = {"memcmp", "memcpy", "memmove", "memset"}  # one calls them, another writes them out
    called = {name for name, version in imported().items() if version}
    assert called <= listed
    assert listed - called <= by_the_compiler
    assert {name for name, version in imported().items() if not version} <= weak


def test_no_symbol_is_younger_than_the_oldest_glibc() -> None:
    versions = {version.removeprefix("GLIBC_") for version in imported().values() if version}

    assert versions
    assert {v for v in versions if tuple(map(int, v.split("."))) > NEWEST_GLIBC} == set()


needs_old_system = pytest.mark.skipif(
    ENV not in os.environ, reason=f"{ENV} names no root with glibc 2.31 (.ci/old-root.sh makes one)"
)


def old_system() -> tuple[Path, list[str | Path]]:
    """Return the older root, and the words that start one of its programs by its own loader."""
    root = Path(os.environ[ENV])
    libraries = root / "lib/x86_64-linux-gnu"
    return root, [libraries / "ld-2.31.so", "--library-path", f"{libraries}:{root}/usr/lib/x86_64-linux-gnu"]


@needs_old_system
@pytest.mark.parametrize("command", ["bin/true", "bin/dash -c 'exit 7'", "bin/ls /"])
def test_it_loads_into_programs_of_an_older_system(command: str) -> None:
    root, loader = old_system()
    name, *arguments = shlex.split(command)
    environ = {"LC_ALL": "C"}
    bare = run([*loader, root / name, *arguments], environ)
    guest = run([*loader, "--preload", LIBRARY, root / name, *arguments], environ)
    listing = run([*loader, "--preload", LIBRARY, "--list", root / name], environ)

    assert (guest.returncode, guest.stdout, guest.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    assert guest.returncode == (7 if name == "bin/dash" else 0)
    assert str(LIBRARY) in listing.stdout


@needs_old_system
def test_lookups_are_answered_where_dlsym_is_in_a_library_of_its_own(programs: Programs) -> None:
    """Before glibc 2.34 the loader's functions are libdl's.  Perl asks it; maps tell where answers lie."""
    root, loader = old_system()
    perl = [root / "usr/bin/perl", f"-I{root}/usr/lib/x86_64-linux-gnu/perl-base", "-MDynaLoader", "-e"]
    script = r"""
        my $driver = DynaLoader::dl_load_file($ARGV[0]) or die DynaLoader::dl_error();
        for my $name (@ARGV[1 .. $#ARGV]) {
            my $at = DynaLoader::dl_find_symbol($driver, $name);
            open(my $maps, "<", "/proc/self/maps");
            while (<$maps>) {
                my ($from, $to, $file) = /^(\w+)-(\w+) .*?(\S*)$/;
                print "$name $file\n" if $at && $at >= hex($from) && $at < hex($to);
            }
        }
    """
    asked = ["cuGetProcAddress_v2", "cuDeviceGetName", "cuNoSuchFunction"]
    driver = programs.files["driver"]
    done = run([*loader, "--preload", LIBRARY, *perl, script, driver, *asked], {"LC_ALL": "C"})

    assert done.stderr == ""
    assert done.stdout == f"cuGetProcAddress_v2 {LIBRARY}\ncuDeviceGetName {driver}\n"
