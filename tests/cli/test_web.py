"""`gshare web` and `gshare metrics`: the page, drawn by a real browser if there is one, and the metrics."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gshare.shim import sim

from .conftest import ALLOCATE, TIMEOUT_S, Home

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
EVIL = "<img src=x onerror=document.title='owned'>"


def get(address: str, path: str) -> bytes:
    with urllib.request.urlopen(f"{address}{path}", timeout=TIMEOUT_S) as answer:
        body: bytes = answer.read()
        return body


def opened(home: Home) -> str:
    result = home.gshare("web", "--port", "0", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    reply = json.loads(result.stdout)
    assert reply["schema"] == "gshare/web/v1"
    address: str = reply["address"]
    return address


def test_without_being_asked_nothing_listens(home: Home) -> None:
    home.gshare("controller", "start")
    pid = (home.run_dir / "controller.lock").read_text().strip()
    inodes = {
        line.split()[9]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    }
    held = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & held


def test_the_page_the_picture_and_the_metrics(home: Home) -> None:
    program = home.allocator("--mem", "2G", "--compute", "30%", "--tenant", "team-a")
    program.ask("take", 100)
    address = opened(home)
    assert home.gshare("web").stdout == f"{address}\n"
    picture = json.loads(get(address, "api/top.json"))
    (tenant,) = picture["tenants"]
    assert (picture["schema"], tenant["tenant"], tenant["guarantee_ppm"]) == (
        "gshare/top/v1",
        "team-a",
        300_000,
    )
    assert picture["refusals"][0]["cause"] == "memory"
    scraped, printed = get(address, "metrics").decode(), home.gshare("metrics").stdout
    for text in (scraped, printed):
        assert (
            f'gshare_tenant_memory_limit_bytes{{gpu="0",tenant="team-a",uuid="{tenant["uuid"]}"}} 2.147'
            in text
        )
    assert json.loads(home.gshare("metrics", "--grafana").stdout)["title"] == "gshare"
    for path in ("", "page.js", "page.css", "icon.svg"):
        assert get(address, path)
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(address, "nothing")
    assert refused.value.code == 404


def test_from_the_start_by_the_environment_and_only_on_loopback(home: Home) -> None:
    home.environment["GSHARE_WEB"] = "0.0.0.0:9445"
    home.gshare("controller", "start")
    assert (
        "GSHARE_WEB 0.0.0.0:9445: only loopback can be served"
        in (home.run_dir / "controller.log").read_text()
    )
    home.gshare("controller", "stop")
    del home.environment["GSHARE_WEB"]
    home.environment["GSHARE_CONFIG"] = str(home.folder / "gshare.toml")
    (home.folder / "gshare.toml").write_text("[controller]\nweb = 0\n")
    home.gshare("controller", "start")
    assert "web page  http://127.0.0.1:" in home.gshare("status").stdout
    assert json.loads(get(home.gshare("web").stdout.strip(), "api/top.json"))["tenants"] == []
    result = home.gshare("web", "--port", "0.0.0.0:80")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (Debian package chromium)")
def test_a_browser_draws_it_and_names_stay_text(home: Home, tmp_path: Path) -> None:
    home.allocator("--mem", "2G", "--compute", "30%", "--tenant", "team-a").ask("take", 4)
    stranger = subprocess.Popen(
        [sys.executable, str(ALLOCATE), EVIL],
        env={**home.environment, **sim.environment(str(home.machine))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    address = opened(home)
    while not json.loads(get(address, "api/top.json"))["unmanaged"]:
        assert stranger.poll() is None
    page = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=4000", "--enable-logging=stderr", "--dump-dom", address,
        ],
        env={**home.environment, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=90,
        check=True,
    )  # fmt: skip
    stranger.communicate()
    assert '<p id="age" role="status" class="">live</p>' in page.stdout
    assert "1 device, 1 tenant, 0 waiting, 1 unmanaged" in page.stdout
    assert "<td>team-a</td>" in page.stdout
    assert "of 2G" in page.stdout
    assert "30 %" in page.stdout
    assert "&lt;img src=x onerror" in page.stdout
    assert "<title>gshare</title>" in page.stdout
    assert "CONSOLE" not in page.stderr, "an error, or something that the policy forbids"
