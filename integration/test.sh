#!/usr/bin/env bash
# Tests the graph drivers of integration/moby and integration/storage, with the suites
# of moby and of containers/storage among them, and every benchmark once. Root; a
# minute, but for the first download.
#
#   integration/test.sh [ARGUMENT of go test]...
#   integration/test.sh -kernels "5.10 latest"    on other kernels, in virtual machines
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
export GOWORK=off # go.work has the library and the command alone
[ "$(id -u)" != 0 ] || export OVERLAYDIFF_REQUIRE=1
# With cgo, containers/storage is built with libraries of file systems. go test -race
# needs it, and takes the test of a store away.
export CGO_ENABLED=${CGO_ENABLED:-0}
modules=(moby storage)

files=$(gofmt -l graph "${modules[@]}")
[ -z "$files" ] || { echo "gofmt would change: $files" >&2; exit 1; }

# on KERNEL [ARGUMENT]...: go test with the programs in a virtual machine. Without
# hardware virtualisation it is slow, so it is -short and the random cases are few.
on() {
  local kernel=$1
  shift
  OVERLAYDIFF_CASES=${OVERLAYDIFF_CASES:-3} \
    go test -short -count 1 -timeout 30m -exec "$vmrun -kernel $kernel -deadline 25m" "$@" .
}

if [ "${1-}" = -kernels ]; then
  kernels=$2
  shift 2
  ../testenv/install.sh vm
  tools=$(mktemp -d)
  trap 'rm -rf "$tools"' EXIT
  vmrun=$tools/vmrun
  (cd .. && GOWORK= go build -o "$vmrun" ./testenv/vm/vmrun)
  failed=
  for kernel in $kernels; do
    for module in "${modules[@]}"; do
      echo "== $module on $kernel" >&2
      (cd "$module" && on "$kernel" "$@") || failed="$failed $module on $kernel;"
    done
  done
  [ -z "$failed" ] || { echo "integration/test.sh: failed:$failed see above" >&2; exit 1; }
  exit
fi

for module in "${modules[@]}"; do
  echo "== $module" >&2
  (
    cd "$module"
    go vet ./...
    go test -count 1 -timeout 10m "$@" ./...
    [ $# -gt 0 ] || go test -short -run '^$' -bench . -benchtime 1x -timeout 10m ./... >/dev/null
  )
done
