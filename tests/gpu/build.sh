#!/bin/sh
# build.sh ROOT SITE WHEELS -- gshare of the tree ROOT, and what it needs of the folder WHEELS, into the folder SITE.
set -eu
root=$1 site=$2 wheels=$3
cd "$root"
parts='pyproject.toml setup.py README.md LICENSE shim controller cli benchmarks'
# shellcheck disable=SC2086  # names without blanks
stamp=$(find $parts -type f | LC_ALL=C sort | xargs -d '\n' cksum | cksum)
if [ -f "$site/.built" ] && [ "$(cat "$site/.built")" = "$stamp" ]; then
    echo "as it was built before: $site"
    exit 0
fi
rm -rf "$site"
mkdir -p "$site"
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
install() { "${PYTHON:-python3}" -m pip install --quiet --no-index --no-cache-dir --target "$site" "$@"; }
if [ -d "$wheels" ]; then
    install --find-links "$wheels" -r tests/gpu/requirements.txt
fi
# shellcheck disable=SC2086
cp -r $parts "$source"
cd "$source"
install --no-build-isolation --no-deps .
echo "$stamp" >"$site/.built"
