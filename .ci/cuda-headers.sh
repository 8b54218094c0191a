#!/usr/bin/env bash
# cuda-headers.sh FOLDER -- puts the headers of four CUDA releases under FOLDER/<release>/include, taken from the
# wheels of NVIDIA's runtime; the newest is whatever PyPI has today, so that a new release shows.
set -euo pipefail
folder=$1
python=$(command -v python3)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT

fetch() { # release, requirement
    mkdir -p "$wheels/$1"
    "$python" -m pip download -q --no-deps --only-binary=:all: --platform manylinux2014_x86_64 \
        -d "$wheels/$1" "$2"
    "$python" - "$wheels/$1" "$folder/$1/include" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
target = Path(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(wheel) as archive:
    for member in archive.namelist():
        if member.endswith(".h") and "/include/cuda" in member:
            (target / Path(member).name).write_bytes(archive.read(member))
PYTHON
}

fetch 11.8 'nvidia-cuda-runtime-cu11==11.8.*'
fetch 12.9 'nvidia-cuda-runtime-cu12==12.9.*'
fetch 13.0 'nvidia-cuda-runtime==13.0.*'
fetch newest nvidia-cuda-runtime
