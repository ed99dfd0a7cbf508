#!/usr/bin/env bash
# Builds the release of HEAD twice, and fails if a byte differs.
#
#   release/reproducible.sh [ARCH]...    the architectures of dist.sh; all, if none is named
#
# The second build has nothing of the first but the modules: another directory, an empty
# build cache, another umask, time zone and language. It compiles everything anew, some minutes
# for each architecture.
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/another-directory"
RELEASE_DIR=$tmp/1 release/dist.sh "$@"
(
  umask 077
  export GOCACHE=$tmp/cache TMPDIR=$tmp/another-directory TZ=Asia/Tokyo LC_ALL=C.UTF-8 RELEASE_DIR=$tmp/2
  release/dist.sh "$@"
)
diff -r "$tmp/1" "$tmp/2" || { echo "reproducible.sh: the builds differ" >&2; exit 1; }
echo "reproducible.sh: $(find "$tmp/1" -type f | wc -l) files are equal, byte for byte"
