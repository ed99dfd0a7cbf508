#!/usr/bin/env bash
# Tests the nested modules of bench: the peers beside us on small trees, every
# benchmark once, and the report. Root; a minute, but for the first download.
# Arguments go to go test: bench/peers/test.sh -run TestAnswers -update
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
export GOWORK=off # go.work has the library and the command alone
[ "$(id -u)" != 0 ] || export OVERLAYDIFF_REQUIRE=1

files=$(gofmt -l . ../report)
[ -z "$files" ] || { echo "gofmt would change: $files" >&2; exit 1; }
go vet ./...
go test -count 1 -timeout 10m "$@" ./...
[ $# -gt 0 ] || go test -short -run '^$' -bench . -benchtime 1x -timeout 10m ./... >/dev/null
cd ../report
go vet ./...
go test -count 1 ./...
