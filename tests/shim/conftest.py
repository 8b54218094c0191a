"""C programs and drivers that the shim's tests run, built once a session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from deaths import Other
from interception import DRIVER, Programs
from sharing import Device
from tenants import Tenant

from gshare.shim import sim

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that compiles and links tests/programs/SOURCE… into a file of the given name."""
    folder = tmp_path_factory.mktemp("programs")

    def run(name: str, *sources: str, options: Iterable[str] = ()) -> Path:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ["gcc", "-std=gnu17", "-O1", "-g", "-fPIC", "-Wall", "-Wextra", f"-I{ROOT}/shim/src"]
        paths = [str(ROOT / "tests" / "programs" / source) for source in sources]
        subprocess.run([*command, *paths, *options, "-ldl", "-lpthread", "-o", str(target)], check=True)
        return target

    return run


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """Return this process's environment without drivers, limits or a shim."""
    foreign = ("LD_LIBRARY_PATH", "GSHARE_", "SIMGPU_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@pytest.fixture(scope="session")
def programs(build: Callable[..., Path], environ: dict[str, str]) -> Programs:
    """Return programs that look for functions in drivers that only count their calls."""

    def driver(name: str, soname: str, *options: str) -> Path:
        shared = ["-shared", "-Wl,-Bsymbolic", f"-Wl,-soname,{soname}"]
        return build(name, "fake_driver.c", options=[*shared, *options])

    real = driver(f"driver/{DRIVER}", DRIVER)
    (real.parent / "libcuda.so").symlink_to(DRIVER)
    script = real.parent / "versioned.map"
    script.write_text("FAKE_1 { *; };\n")
    link = ["-Wl,--no-as-needed", f"-L{real.parent}", f"-l:{DRIVER}"]
    return Programs(
        plain=build("roads", "roads.c", "linked.c"),
        linked=build("roads-linked", "roads.c", "linked.c", options=link),
        calls=build("calls", "calls.c", "linked.c", options=link),
        files={
            "driver": real,
            "nvml": driver("driver/libnvidia-ml.so.1", "libnvidia-ml.so.1", "-DNVML"),
            "copy": driver("copy/libdriver.so", DRIVER),
            "nowhere": real.parent.parent / "nowhere" / DRIVER,
            "versioned": driver(f"versioned/{DRIVER}", DRIVER, f"-Wl,--version-script={script}"),
            "client": build("libclient.so", "linked.c", options=["-shared", *link]),
        },
        environ=environ,
    )


@pytest.fixture
def new_tenant(tmp_path: Path, environ: dict[str, str]) -> Iterator[Callable[..., Tenant]]:
    """Return a function that makes the test's tenant, on a simulated machine of its own."""
    tenants: list[Tenant] = []

    def make(**options: object) -> Tenant:
        tenants.append(Tenant(tmp_path, environ, **options))  # type: ignore[arg-type]
        return tenants[-1]

    yield make
    for tenant in tenants:
        tenant.close()


@pytest.fixture
def tenant(new_tenant: Callable[..., Tenant]) -> Tenant:
    """Return a tenant that may have 1 GiB of an L4."""
    return new_tenant()


@pytest.fixture
def other(tenant: Tenant) -> Iterator[Other]:
    """Return a process of the tenant that asks for memory."""
    process = Other(tenant)
    yield process
    process.was_within()
    process.program.communicate(timeout=60)


@pytest.fixture
def make_device(
    tmp_path: Path, environ: dict[str, str], build: Callable[..., Path]
) -> Iterator[Callable[..., Device]]:
    """Return a function that makes a device with a tenant per cap (in percent)."""
    devices: list[Device] = []
    library = Path(sim.LIBRARY_DIR) / "libcuda.so.1"
    program = build("share", "share.c", options=[str(library)])

    def run(*caps_percent: float, virtual: bool = False, **limits: int) -> Device:
        folder = tmp_path / str(len(devices))
        folder.mkdir()
        devices.append(
            Device(
                folder,
                environ,
                program,
                [int(cap * 10_000) for cap in caps_percent],
                virtual=virtual,
                **limits,
            )
        )
        return devices[-1]

    yield run
    for device in devices:
        device.close()


@pytest.fixture
def make_virtual_device(make_device: Callable[..., Device]) -> Callable[..., Device]:
    """Return make_device for a device on a virtual clock: long measurements, the same each time."""
    return partial(make_device, virtual=True)
