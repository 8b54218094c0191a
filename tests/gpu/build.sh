#!/bin/sh
# build.sh ROOT SITE WHEELS -- gshare of the tree ROOT, and what it needs of the folder WHEELS, into the folder SITE.
#
# Of the packages only those that Python lacks, or has too old or too new: others' stay as their frameworks know them.
# Libraries that were brought along (WHEELS/*.so*.xz) go to SITE/lib.
set -eu
root=$1 site=$2 wheels=$3
cd "$root"
parts='pyproject.toml setup.py README.md LICENSE shim controller cli benchmarks tests/gpu/requirements.txt'
# shellcheck disable=SC2086  # names without blanks
stamp=$({
    find $parts -type f | LC_ALL=C sort | xargs -d '\n' cksum
    ls "$wheels" 2>/dev/null || true
} | cksum)
if [ -f "$site/.built" ] && [ "$(cat "$site/.built")" = "$stamp" ]; then
    echo "as it was built before: $site"
    exit 0
fi
rm -rf "$site"
mkdir -p "$site"
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
python=${PYTHON:-python3}
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
install() { pip install --quiet --no-index --no-cache-dir --no-deps --target "$site" "$@"; }
if [ -d "$wheels" ]; then
    pip install --quiet --no-index --find-links "$wheels" --dry-run --report "$source/report.json" \
        -r tests/gpu/requirements.txt
    "$python" - "$source/report.json" >"$source/lacking" <<'END'
import json, sys

for found in json.load(open(sys.argv[1]))["install"]:
    print(f"{found['metadata']['name']}=={found['metadata']['version']}")
END
    echo "of the wheels: $(xargs <"$source/lacking")"
    if [ -s "$source/lacking" ]; then
        install --find-links "$wheels" -r "$source/lacking"
    fi
    for library in "$wheels"/*.so*.xz; do
        [ -f "$library" ] || continue
        mkdir -p "$site/lib"
        "$python" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' \
            "$library" >"$site/lib/$(basename "$library" .xz)"
    done
fi
# shellcheck disable=SC2086
cp -r --parents $parts "$source"
cd "$source"
# The compiler that there is: Python may have been built with one that is not.
compiler=$(command -v cc || command -v gcc || true)
[ -z "$compiler" ] || export CC="${CC:-$compiler}"
install --no-build-isolation .
echo "$stamp" >"$site/.built"
