"""`gshare controller check-config`."""

import json

from .conftest import Home

FAULTY = '[admission]\nplacment = "spread"\n[defaults]\nmem = "8GB"\n'


def test_a_file_is_checked_line_by_line(home: Home) -> None:
    file = home.folder / "gshare.toml"
    file.write_text(FAULTY)
    result = home.gshare("controller", "check-config", str(file))
    assert (result.returncode, result.stderr) == (1, "")
    first, second = result.stdout.splitlines()
    assert first == f"{file}: line 2: admission.placment: no such key (did you mean placement)"
    assert second.startswith(f"{file}: line 4: defaults.mem: 8GB: GB means 10^9 bytes to some")
    found = json.loads(home.gshare("controller", "check-config", "--json", str(file)).stdout)
    assert (found["schema"], found["usable"]) == ("gshare/config/v1", False)
    assert [(one["line"], one["key"]) for one in found["wrong"]] == [
        (2, "admission.placment"),
        (4, "defaults.mem"),
    ]
    assert home.written() == set()


def test_without_a_name_it_is_the_controllers_own(home: Home) -> None:
    environment = {**home.environment, "XDG_CONFIG_HOME": str(home.folder)}
    file = home.folder / "gshare" / "gshare.toml"
    result = home.gshare("controller", "check-config", env=environment)
    assert result.returncode == 5
    assert result.stderr.startswith(f"gshare: {file}: there is no such file")
    file.parent.mkdir()
    file.write_text("[admission]\n")
    result = home.gshare("controller", "check-config", env=environment)
    assert (result.returncode, result.stdout) == (0, f"{file}: nothing is wrong\n")
