#!/usr/bin/env bash
# old-root.sh FOLDER -- puts the C library of Debian 11 (glibc 2.31) and programs built on it under FOLDER.
# They are run through that library's own loader: no chroot, no root.
set -euo pipefail
"$(dirname "$0")/deb.sh" "$1" bullseye main libc6 coreutils dash libselinux1 libpcre2-8-0 \
    perl-base libcrypt1
