#!/usr/bin/env bash
# Runs every check and test of the project; the exit status says whether all
# passed. Arguments go to go test: testenv/test.sh -run Random ./native
#
# First installs what is missing (install.sh). As root a test that can't run
# here fails; otherwise it is skipped with its reason.
#
# Without arguments, as root, a part of the tests also runs on other kernels, in
# virtual machines: those of OVERLAYDIFF_KERNELS, "5.10 6.1 6.12 6.18 latest" unless
# set, "none" for none. make test-vm runs all tests there.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1

export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin" # as in install.sh
testenv/install.sh >&2 || exit 1

if [ "$(id -u)" = 0 ] || [ -n "${CI-}" ]; then
  export OVERLAYDIFF_REQUIRE=1
else
  echo "test.sh: not root: tests that mount file systems are skipped" >&2
fi

failed=
step() {
  local name=$1
  shift
  echo "== $name" >&2
  "$@" >&2 || failed="$failed $name;"
}

formatted() {
  local files
  files=$(gofmt -l .) || return
  [ -z "$files" ] || { echo "gofmt would change:" $files; return 1; }
}

kernels=${OVERLAYDIFF_KERNELS:-5.10 6.1 6.12 6.18 latest}
if [ "$(id -u)" != 0 ] || [ $# -gt 0 ]; then
  kernels=none
fi

# QEMU and its kernels, which only this needs; without a network it fails.
machines() {
  testenv/install.sh vm && go build -o dist/matrix ./testenv/vm/matrix && dist/matrix -slice -kernels "$kernels" || {
    echo "test.sh: OVERLAYDIFF_KERNELS=none leaves other kernels out" >&2
    return 1
  }
}

# fuzz runs every fuzz target for FUZZ_TIME: three a processor at the same time, or
# it would be most of what this script takes.
fuzz() {
  go run ./testenv/torture/campaign -run ^Fuzz -fuzztime "${FUZZ_TIME:-60s}" -jobs $((3 * $(nproc))) -dir dist/fuzz
}

# The version is pinned there: the answer depends on the commit, not on the day. So
# govulncheck is not here, but in make torture.
static() {
  go run ./testenv/torture/campaign -run '^staticcheck$' -dir dist/staticcheck
}

packages=(./...)
for arg; do
  case $arg in .|./*) packages=() ;; esac
done

step gofmt formatted
step 'go vet' go vet ./...
[ $# -gt 0 ] || step staticcheck static
# 32 bits, and the other byte order. With a cold cache each architecture takes minutes, so the
# other ones, and the command, are for make arch.
[ $# -gt 0 ] || step 'other architectures' testenv/arch.sh -library 386 s390x
# Once each on small trees: that they still work, not how fast they are.
step benchmarks go test -timeout 10m -short -run '^$' -bench . -benchtime 1x ./bench/...
echo '== go test' >&2
# -count 1: what they find depends on the kernel, which the test cache does not know.
go test -race -count 1 -timeout 30m "$@" "${packages[@]}" || failed="$failed go test;"

[ $# -gt 0 ] || [ "$(id -u)" != 0 ] || step fuzzing fuzz
[ "$kernels" = none ] || step 'other kernels' machines

[ -z "$failed" ] || { echo "test.sh: failed:$failed see above" >&2; exit 1; }
