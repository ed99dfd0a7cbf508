#!/usr/bin/env bash
# Compares the exported API of the library with that of an older commit, by the rules of Go:
#
#   release/apidiff.sh BASE      BASE is a tag or commit
#
# Prints every change of the packages that docs/api-stability.md calls stable. Exit status 1: a
# change is incompatible; code that compiles with BASE may not compile with the work tree.
set -euo pipefail

die() { echo "apidiff.sh: $*" >&2; exit 2; }

apidiff=golang.org/x/exp/cmd/apidiff@v0.0.0-20261113113407-e3970619a1a4
stable=(. ./diff ./native ./naive ./layer ./features ./whiteout ./mountutil)

cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="$PATH:/usr/local/go/bin"
[ $# = 1 ] && [ -n "$1" ] || die "name a tag or commit to compare with"
base=$(git rev-parse --verify --quiet "$1^{commit}") || die "$1 is no commit of this clone: git fetch --tags?"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
GOBIN=$tmp go install "$apidiff"
git clone -q --no-checkout . "$tmp/base"
git -C "$tmp/base" -c advice.detachedHead=false checkout -q "$base"

incompatible=
for package in "${stable[@]}"; do
  name=github.com/overlaydiff/overlaydiff${package#.}
  if ! (cd "$tmp/base" && go list "$package" >/dev/null 2>&1); then
    echo "$name: new"
    continue
  fi
  (cd "$tmp/base" && "$tmp/apidiff" -w "$tmp/old" "$package")
  if ! go list "$package" >/dev/null 2>&1; then
    echo "$name: removed"
    incompatible=1
    continue
  fi
  changes=$("$tmp/apidiff" "$tmp/old" "$package")
  [ -z "$changes" ] || printf '%s\n%s\n' "$name" "$changes"
  [ -z "$("$tmp/apidiff" -incompatible "$tmp/old" "$package")" ] || incompatible=1
done
[ -z "$incompatible" ] || { echo "apidiff.sh: incompatible with $1: CHANGELOG.md must say what to write instead, see docs/api-stability.md" >&2; exit 1; }
echo "apidiff.sh: compatible with $1"
