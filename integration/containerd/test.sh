#!/usr/bin/env bash
# Tests the containerd plugins: containerd's suite for snapshotters among them.
# Root; some minutes, the first build included. Arguments go to go test; on another
# kernel, with vmrun as its comment says:
#
#   CGO_ENABLED=0 integration/containerd/test.sh -exec "vmrun -kernel 5.10"
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
export GOWORK=off # go.work has the library and the command alone
[ "$(id -u)" != 0 ] || export OVERLAYDIFF_REQUIRE=1

files=$(gofmt -l .)
[ -z "$files" ] || { echo "gofmt would change: $files" >&2; exit 1; }
go vet ./...
go test -count 1 -timeout 15m "$@" ./...
