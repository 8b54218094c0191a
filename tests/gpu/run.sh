#!/bin/sh
# run.sh -- all that needs a GPU, in one command and without a network: build gshare, test, measure, keep the results.
#
#   tests/gpu/run.sh [--sim] [OUT]         results go to OUT, else to $OUT, else to ./gpu-results
#   tests/gpu/run.sh --stage 2 --site DIR --within 580 [OUT]        one of four stages, each under ten minutes
#   tests/gpu/run.sh --list                what there is
#
# --sim rehearses on the simulated GPU.  Each part has a time limit; one that fails does not stop the next; a table at
# the end says what became of them, and the exit code is 1 if something is not well.  --site keeps what was built for
# the next stage; --installed takes the gshare that is installed.
#
# Python packages that the machine lacks are taken from ./wheels (or $WHEELS), libraries from *.so*.xz there; it is
# filled beforehand (docs/hardware.md) by
#
#   pip download --python-version 3.12 --only-binary=:all: --platform manylinux_2_28_x86_64 \
#       --platform manylinux2014_x86_64 -d wheels -r tests/gpu/requirements.txt
#
# Where the machine has no C compiler, the recorder of tests/golden is taken from ./recorder (or $RECORDER):
#
#   cc -std=gnu17 -O1 -o recorder tests/golden/recorder/*.c -ldl -lpthread
#
# Frameworks (torch, CuPy, JAX, Triton, numba, NCCL) are looked for in $PYTHON, else python3; who is missing is skipped.
exec "${PYTHON:-python3}" "$(dirname "$0")/run.py" "$@"
