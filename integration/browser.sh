#!/usr/bin/env bash
# Tests the pages of overlaydiff report in Chromium. Root; installs what is missing.
#
#   integration/browser.sh           on a small overlay
#   integration/browser.sh large     also on the large one of bench/real-image.sh, with
#                                    pictures of it for docs; the first time it is made
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
case ${1-} in '' | large) ;; *) echo "browser.sh: unknown word '$1': large, or nothing" >&2; exit 2 ;; esac

testenv/install.sh browser
go build -trimpath -o dist/overlaydiff ./cmd/overlaydiff
export OVERLAYDIFF_COMMAND=$PWD/dist/overlaydiff
if [ "${1-}" = large ]; then
  testenv/install.sh debootstrap
  bench/real-image.sh large
  image=${XDG_CACHE_HOME:-${HOME:?}/.cache}/overlaydiff/real-image
  export OVERLAYDIFF_LARGE=$image/lower:$image/large/upper OVERLAYDIFF_SHOTS=$PWD/docs
fi
cd integration/browser
export GOWORK=off
go test -count 1 -v -timeout 10m .
