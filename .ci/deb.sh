#!/usr/bin/env bash
# deb.sh FOLDER SUITE[,SUITE…] COMPONENT PACKAGE… -- unpacks Debian packages into FOLDER without installing them.
# apt works in a folder of its own: nothing of the system changes, and no root is needed.
set -euo pipefail
folder=$1 suites=$2 component=$3
shift 3
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keys" ] || { echo "deb.sh: $keys: not found (apt-get install debian-archive-keyring)" >&2; exit 1; }

apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt"/{sources,lists/partial,cache/archives/partial,packages} "$folder"
for suite in ${suites//,/ }; do
    case $suite in
        *-security) archive=debian-security ;;
        *) archive=debian ;;
    esac
    echo "deb [arch=amd64 signed-by=$keys] $mirror/$archive $suite $component"
done >"$apt/sources/private.list"
touch "$apt/status"
options=(-qq -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$apt/sources"
    -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "APT::Architecture=amd64" -o "APT::Architectures=amd64" -o "APT::Sandbox::User=$(id -un)"
    -o "Acquire::Languages=none")
apt-get "${options[@]}" update
(cd "$apt/packages" && apt-get "${options[@]}" download "$@")
for package in "$apt"/packages/*.deb; do
    dpkg-deb --extract "$package" "$folder"
done
