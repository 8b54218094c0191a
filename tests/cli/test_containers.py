"""Containers by CDI, scripts by `gshare env`, notebooks by a kernel spec: limited as `gshare run` is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gshare.shim import LIBRARY

from .conftest import GSHARE, TIMEOUT_S, Home
from .guide import AUDIT, commands

MIB = 1 << 20
NOT_PERMITTED = 800

LOOK = """
#include <dlfcn.h>
#include <stdio.h>
int main(void)
{
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    int (*init)(unsigned) = cuda ? dlsym(cuda, "cuInit") : 0;
    int (*total)(size_t *, int) = cuda ? dlsym(cuda, "cuDeviceTotalMem_v2") : 0;
    size_t bytes = 0;
    int answer = init ? init(0) : -1;
    if (!answer)
        total(&bytes, 0);
    printf("[%d, %zu]\\n", answer, bytes);
}
"""

PYTHON_LOOK = """
import ctypes
cuda, total = ctypes.CDLL("libcuda.so.1"), ctypes.c_size_t()
answer = cuda.cuInit(0), cuda.cuDeviceTotalMem_v2(ctypes.byref(total), 0)
print([answer[0], total.value])
"""

needs_podman = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("runc"),
    reason="needs root, podman and runc",
)


def generated(home: Home, *arguments: str) -> dict[str, Any]:
    told = home.gshare("cdi", "generate", *arguments)
    assert (told.returncode, told.stderr) == (0, "")
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_a_specification_has_a_device_for_each_tenant(home: Home) -> None:
    """As podman 4.3 reads it: no field that 0.5.0 does not have, and paths that are absolute."""
    assert home.gshare("quota", "set", "team-a", "--mem", "2G").returncode == 0
    assert home.gshare("quota", "set", "team-b", "--mem", "2G").returncode == 0
    found = generated(home)
    assert (found["cdiVersion"], found["kind"]) == ("0.5.0", "gshare.dev/gpu")
    assert [device["name"] for device in found["devices"]] == ["team-a", "team-b"]
    assert generated(home, "team-b")["devices"] == found["devices"][1:]
    for edits in (found["containerEdits"], *(device["containerEdits"] for device in found["devices"])):
        assert set(edits) <= {"env", "mounts", "deviceNodes", "hooks"}
        for mount in edits["mounts"]:
            assert set(mount) == {"hostPath", "containerPath", "options"}
            assert mount["hostPath"].startswith("/")
    preload = next(m for m in found["containerEdits"]["mounts"] if m["containerPath"] == "/etc/ld.so.preload")
    assert "ro" in preload["options"]
    library = Path(preload["hostPath"]).read_text().strip()
    assert library in [mount["containerPath"] for mount in found["containerEdits"]["mounts"]]
    told = home.gshare("cdi", "generate", "--output", str(home.folder / "cdi" / "gshare.json"))
    assert told.returncode == 0
    assert json.loads((home.folder / "cdi" / "gshare.json").read_text()) == found
    assert home.gshare("cdi", "generate", "a@1000").returncode == 2
    told = home.gshare("cdi", "generate", "--output", "/", "team-a")
    assert (told.returncode, told.stderr) == (1, "gshare: /: cannot be written: Is a directory\n")


def test_a_tenant_that_there_is_not_is_told_at_once_and_not_by_the_container(home: Home) -> None:
    assert home.gshare("quota", "set", "team-a", "--mem", "2G").returncode == 0
    told = home.gshare("cdi", "generate", "team-a", "taem-a")
    assert (told.returncode, told.stdout) == (5, "")
    assert told.stderr.startswith("gshare: tenant taem-a: is not permanent, and does not run (gshare quota")
    generate = [*GSHARE, "cdi", "generate", "job"]
    told = home.gshare("run", "--sim", "--tenant", "job", "--mem", "2G", *generate)
    assert [device["name"] for device in json.loads(told.stdout)["devices"]] == ["job"]


def rootfs(home: Home) -> Path:
    """A root with a shell, `env`, and a program that looks at the GPU."""
    root, source = home.folder / "rootfs", home.folder / "look.c"
    for folder in ("bin", "proc", "sys", "dev", "etc", "tmp", "run"):
        (root / folder).mkdir(parents=True)
    source.write_text(LOOK)
    subprocess.run(["cc", str(source), "-o", str(root / "bin" / "look"), "-ldl"], check=True)
    shutil.copy("/bin/sh", root / "bin" / "sh")
    shutil.copy("/usr/bin/env", root / "bin" / "env")
    simulator = LIBRARY.parent / "sim" / "libcuda.so.1"
    for program in (*(root / "bin").iterdir(), LIBRARY, simulator):
        words = subprocess.run(
            ["ldd", str(program)], capture_output=True, text=True, check=True
        ).stdout.split()
        for library in (word for word in words if word.startswith("/")):
            (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library.lstrip("/"))
    return root


@needs_podman
def test_a_container_is_limited_whatever_it_does_with_its_environment(home: Home) -> None:
    os.chmod(home.folder, 0o755)
    root = rootfs(home)
    specification = Path("/etc/cdi") / f"gshare-test-{os.getpid()}.json"
    name = f"t{os.getpid()}"
    assert home.gshare("sim", "start").returncode == 0
    assert home.gshare("quota", "set", name, "--mem", "2G").returncode == 0
    (line,) = [words for words, _ in commands(AUDIT) if "podman" in words]
    *words, _, device, image, command = [word.replace("team-a", name) for word in line]
    assert words == f"gshare run --tenant {name} podman run --device nvidia.com/gpu=all".split()
    assert (image, command) == ("IMAGE", "COMMAND")
    podman = [
        "podman", "--runtime", "runc", "run", "--rm", "--network", "none",
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
    ]  # fmt: skip

    def contained(options: list[str], script: str) -> subprocess.CompletedProcess[str]:
        run = ["run", "--sim", "--tenant", name, "--", *podman, *options]
        return home.gshare(*run, "--rootfs", str(root), "sh", "-c", script)

    told = home.gshare("cdi", "generate", "--sim", "--output", str(specification), name)
    assert told.returncode == 0, told
    try:
        edits = json.loads(specification.read_text())["containerEdits"]
        variables = " ".join(edits["env"])
        script = f"look; unset LD_PRELOAD; look; env -i {variables} /bin/look; : 2>&- >>/etc/ld.so.preload"
        told = contained(["--device", device, "--cap-drop", "ALL"], script)
        assert [json.loads(line) for line in told.stdout.splitlines()] == [[0, 2048 * MIB]] * 3, told
        assert told.returncode != 0, "what names the library cannot be written"
        mounts = [
            word
            for mount in edits["mounts"]
            for word in (
                "-v",
                f"{mount['hostPath']}:{mount['containerPath']}:{'ro' if 'ro' in mount['options'] else 'rw'}",
            )
        ]
        told = contained(mounts, f"env -i {variables} /bin/look")
        assert json.loads(told.stdout)[0] == NOT_PERMITTED, "the library and nobody's name"
        assert "no tenant is mounted" in told.stderr
        missing = subprocess.run(
            [*podman, "--device", device, "--rootfs", str(root), "look"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert missing.returncode in (126, 127), "the tenant does not run: nothing starts"
        assert (missing.stdout, f"tenants/{name}" in missing.stderr) == ("", True)
    finally:
        specification.unlink()


def test_a_script_gets_the_environment_of_a_tenant(home: Home) -> None:
    look = home.folder / "look.py"
    look.write_text(PYTHON_LOOK)
    gshare, program = " ".join(GSHARE), f"{sys.executable} {look}"
    script = f'eval "$({gshare} env --sim --mem 2G --tenant a)"; {program}; {gshare} ps --json; {program}'
    told = subprocess.run(
        ["sh", "-c", script],
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    first, _, last = told.stdout.splitlines()
    assert json.loads(first) == json.loads(last) == [0, 2048 * MIB]
    assert told.stderr == ""
    assert home.gshare("env", "--mem", "8GB").returncode == 2


def test_a_kernel_specification_is_a_run_under_limits(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    told = home.gshare("kernelspec", "install", "--mem", "4G", "--compute", "20%", "--prefix", str(tmp_path))
    assert told.returncode == 0, told
    path = Path(told.stdout.strip())
    assert path == tmp_path / "share" / "jupyter" / "kernels" / "gshare" / "kernel.json"
    found = json.loads(path.read_text())
    assert found["argv"][:6] == [*GSHARE, "run", "--mem=4G", "--compute=20%"]
    assert found["argv"][6:] == ["--", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    for wrong in (["--mem", "8GB"], ["--name", "../x"]):
        assert home.gshare("kernelspec", "install", *wrong, "--prefix", str(tmp_path)).returncode == 2
    told = home.gshare("kernelspec", "install", "--python", "/bin/false", "--prefix", str(tmp_path))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)


def test_a_notebooks_kernel_is_limited(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    home.environment["JUPYTER_DATA_DIR"] = str(home.folder / "jupyter")
    told = home.gshare(
        "kernelspec", "install", "--sim", "--mem", "2G", "--compute", "20%", "--tenant", "notes"
    )
    assert told.returncode == 0, told
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    manager, kernel = client.start_new_kernel(kernel_name="gshare", startup_timeout=TIMEOUT_S)
    try:
        told_lines: list[str] = []
        reply = kernel.execute_interactive(
            PYTHON_LOOK,
            timeout=TIMEOUT_S,
            output_hook=lambda message: told_lines.append(message["content"].get("text", "")),
        )
        assert reply["content"]["status"] == "ok"
        assert json.loads("".join(told_lines)) == [0, 2048 * MIB]
        (row,) = json.loads(home.gshare("ps", "--json").stdout)["processes"]
        assert (row["tenant"], row["compute_limit_ppm"]) == ("notes", 200_000)
        assert row["pid"] == manager.provisioner.pid
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
