#!/usr/bin/env bash
# Builds all packages for every architecture that the project supports, and vets them with their
# tests, which compiles these:
#
#   testenv/arch.sh                  all architectures
#   testenv/arch.sh 386 s390x        these
#   testenv/arch.sh -library 386     the library's module alone, without that of the command
#   testenv/arch.sh -list            prints the names of all
#
# Nothing is run: make test-arch does that. With a cold build cache an architecture takes some
# four minutes of one processor, with a warm one some seconds.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
export PATH="$PATH:/usr/local/go/bin"

all=(amd64 arm64 riscv64 ppc64le s390x loong64 386 arm)
if [ "${1-}" = -list ]; then
  echo "${all[*]}"
  exit
fi
packages=(./... ./cmd/overlaydiff/...)
if [ "${1-}" = -library ]; then
  packages=(./...) # of that module
  shift
fi
[ $# -gt 0 ] || set -- "${all[@]}"
failed=
for arch; do
  echo "== $arch" >&2
  # Without cgo: there is a C compiler for this machine's architecture alone.
  export CGO_ENABLED=0 GOOS=linux GOARCH=$arch
  go build "${packages[@]}" && go vet "${packages[@]}" || failed="$failed $arch"
done
[ -z "$failed" ] || { echo "arch.sh: does not build or vet:$failed, see above" >&2; exit 1; }
