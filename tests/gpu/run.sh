#!/bin/sh
# run.sh -- build gshare on a GPU machine without a network, run what needs the hardware, keep the results.
#
#   tests/gpu/run.sh [--sim] [OUT]       results go to OUT, else to $OUT, else to ./gpu-results
#
# --sim rehearses the whole script on the simulated GPU.  Phases come in order of value, each with a time limit
# of its own, nine minutes in all; one that fails does not stop the next.  Eight files at most come back.
#
# Python packages that the machine lacks are taken from ./wheels (or $WHEELS), filled beforehand by
#
#   pip download --python-version 3.12 --only-binary=:all: --platform manylinux_2_28_x86_64 \
#       --platform manylinux2014_x86_64 -d wheels setuptools cython cffi click msgspec nvidia-ml-py \
#       psutil pyzmq rich pytest pytest-timeout hypothesis
#
# Where the machine has no C compiler, the recorder of tests/golden is taken from ./recorder (or $RECORDER):
#
#   cc -std=gnu17 -O1 -o recorder tests/golden/recorder/*.c -ldl -lpthread
set -u

# This script calls itself for the one phase that is more than one command.
if [ "${1:-}" = --build ]; then
    set -e
    pip="$python -m pip install --quiet --no-index --no-cache-dir --target $site"
    if [ -d "$wheels" ]; then
        $pip --find-links "$wheels" setuptools cython cffi click msgspec nvidia-ml-py psutil pyzmq \
            rich pytest pytest-timeout hypothesis
    fi
    mkdir "$work/source"
    cd "$root"
    cp -r pyproject.toml setup.py README.md LICENSE shim controller cli benchmarks "$work/source"
    cd "$work/source"
    exec $pip --no-build-isolation --no-deps .
fi

sim=''
if [ "${1:-}" = --sim ]; then
    sim=--sim
    export GSHARE_GPU_REHEARSAL=1
    shift
fi
out=${1:-${OUT:-gpu-results}}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
work=$(mktemp -d /tmp/gshare-gpu-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

root=$(cd "$(dirname "$0")/../.." && pwd)
site=$work/site
wheels=${WHEELS:-$root/wheels}
python=${PYTHON:-python3}
export root work site wheels python
export PYTHONPATH="$site" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export GSHARE_RUNTIME_DIR="$work/run" GSHARE_STATE_DIR="$work/state" SIMGPU_MACHINE="$work/machine"
gshare="$python -m gshare.cli"
failed=0
: >"$out/log.txt"
: >"$out/summary.txt"

# phase NAME SECONDS FILE COMMAND…: standard output goes to FILE, the rest to log.txt, the end to summary.txt.
phase() {
    name=$1 limit=$2 file=$3
    shift 3
    start=$(date +%s)
    printf '\n==== %s\n' "$name" >>"$out/log.txt"
    timeout --kill-after=5 "$limit" "$@" >>"$out/$file" 2>>"$out/log.txt" </dev/null
    code=$?
    printf '%-10s code %-3s %4s s\n' "$name" "$code" "$(($(date +%s) - start))" | tee -a "$out/summary.txt"
    [ "$code" -eq 0 ] || failed=1
}

{
    date -u
    uname -a
    "$python" -VV
    [ -n "$sim" ] || nvidia-smi
} >>"$out/log.txt" 2>&1
phase build 95 log.txt sh "$0" --build

# A program that runs bare must be told where a simulated driver is.
bare=''
[ -z "$sim" ] || bare="env LD_LIBRARY_PATH=$site/gshare/shim/sim"

cd "$work" || exit 1
phase doctor 20 doctor.json $gshare doctor --json
recorder=${RECORDER:-$root/recorder}
if command -v cc >/dev/null; then
    recorder=$work/recorder
    phase recorder 20 log.txt cc -std=gnu17 -O1 -o "$recorder" "$root"/tests/golden/recorder/*.c -ldl -lpthread
fi
phase answers 60 log.txt $bare "$recorder" "$out/answers.json"
phase timings 60 log.txt $bare "$recorder" --timings "$out/timings.json"
phase demo 45 demo.json $gshare demo $sim --json
tests=$root/tests/gpu
phase tests 130 log.txt "$python" -m pytest "$tests/test_memory.py" "$tests/test_share.py" "$tests/test_roads.py" \
    "$tests/test_clients.py" "$tests/test_probes.py" \
    -m gpu -rA -p no:cacheprovider --durations=5 --junit-xml="$out/tests.xml"
phase overhead 110 log.txt $gshare bench overhead $sim --output "$out/overhead.json"
[ -n "$sim" ] || $gshare controller stop >>"$out/log.txt" 2>&1
[ -z "$sim" ] || $gshare sim stop >>"$out/log.txt" 2>&1
exit $failed
