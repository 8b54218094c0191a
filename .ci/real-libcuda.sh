#!/usr/bin/env bash
# real-libcuda.sh FOLDER -- puts NVIDIA's own libcuda.so.1 of some releases, from Debian's non-free section, under
# FOLDER/<release>/.  Nothing of it is installed; without a GPU it still says how a driver answers lookups.
set -euo pipefail
folder=$1
here=$(dirname "$0")

fetch() { # release, suites
    local root
    root=$(mktemp -d)
    "$here/deb.sh" "$root" "$2" non-free libcuda1 || { rm -rf "$root"; return 1; }
    mkdir -p "$folder/$1"
    cp -L "$root"/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1 "$folder/$1/libcuda.so.1"
    rm -rf "$root"
}

fetch 535 bookworm,bookworm-security
# Younger releases live in suites that move: good to have, no reason to stop.
fetch 550 trixie || echo "real-libcuda.sh: no libcuda1 in trixie now" >&2
fetch 555 experimental || echo "real-libcuda.sh: no libcuda1 in experimental now" >&2
