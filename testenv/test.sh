#!/usr/bin/env bash
# Runs the checks and tests of the project; the exit status says whether all passed.
# Arguments go to go test: testenv/test.sh -run Random ./native
#
# First installs what is missing (install.sh). As root a test that can't run here fails;
# otherwise it is skipped with its reason.
#
# .ci/run adds steps, by STEPS="architectures benchmarks races fuzz kernels":
#   FUZZ_TIME=30s                every fuzz target for that long
#   OVERLAYDIFF_KERNELS="5.10 latest-arm64"    a part of the tests on these kernels, in virtual
#                                machines; make test-vm runs all of them there
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1

export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin" # as in install.sh
testenv/install.sh >&2 || exit 1

if [ "$(id -u)" = 0 ] || [ -n "${CI-}" ]; then
  export OVERLAYDIFF_REQUIRE=1
else
  echo "test.sh: not root: tests that mount file systems are skipped" >&2
fi

# The two modules of go.work: the library and the command.
all=(./... ./cmd/overlaydiff/...)

formatted() {
  local files
  files=$(gofmt -l .) || return
  [ -z "$files" ] || { echo "gofmt would change:" $files; return 1; }
}

# The version is pinned there: the answer depends on the commit, not on the day. So
# govulncheck is not here, but in make torture.
static() {
  go run ./cmd/overlaydiff/internal/torture/campaign -run '^staticcheck( cmd/overlaydiff)?$' -dir dist/staticcheck
}

# 32 bits, and the other byte order. With a cold cache each architecture takes minutes, so
# the other ones, and the command, are for make arch.
architectures() {
  testenv/arch.sh -library 386 s390x
}

# Once each on small trees: that they still work, not how fast they are.
benchmarks() {
  go test -timeout 10m -short -run '^$' -bench . -benchtime 1x ./bench/...
}

# -count 1: what they find depends on the kernel, which the test cache does not know.
tests() {
  go test -count 1 -timeout 30m "${all[@]}"
}

# With the race detector on one file system: goroutines do not depend on it, and it makes
# everything five times as slow.
races() {
  OVERLAYDIFF_FS=tmpfs go test -race -count 1 -timeout 30m "${all[@]}"
}

# Three targets a processor at the same time, or it would be most of what CI takes.
fuzz() {
  go run ./cmd/overlaydiff/internal/torture/campaign -run ^Fuzz -fuzztime "${FUZZ_TIME:-30s}" -jobs $((3 * $(nproc))) -dir dist/fuzz
}

# QEMU and its kernels, which nothing else needs; without a network it fails.
kernels() {
  local arch series job jobs=() failed=
  go build -o dist/matrix ./testenv/vm/matrix || return
  for arch in amd64 arm64 s390x; do
    series=$(for kernel in $OVERLAYDIFF_KERNELS; do
      case $kernel in
        *-"$arch") echo "${kernel%-*}" ;;
        *-*) ;;
        *) [ "$arch" != amd64 ] || echo "$kernel" ;;
      esac
    done)
    [ -n "$series" ] || continue
    testenv/install.sh "vm-$arch" || return
    dist/matrix -arch "$arch" -slice -kernels "$series" & # the results have names of their own
    jobs+=($!)
  done
  trap 'kill "${jobs[@]}" 2>/dev/null; exit 143' TERM HUP # else the machines would go on
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  [ -z "$failed" ]
}

# named runs the tests that the arguments name.
named() {
  local arg packages=("${all[@]}")
  for arg; do
    case $arg in .|./*) packages=() ;; esac
  done
  go test -race -count 1 -timeout 30m "$@" "${packages[@]}"
}

vet() { go vet "${all[@]}"; }
[ "${OVERLAYDIFF_KERNELS-none}" != none ] || OVERLAYDIFF_KERNELS=
# The minutes that a step takes on two processors, from nothing.
declare -A minutes=([formatted]=0 [vet]=1 [static]=1 [tests]=7 [named]=5
  [architectures]=2 [benchmarks]=1 [races]=6 [fuzz]=3 [kernels]=$((2 * $(wc -w <<<"$OVERLAYDIFF_KERNELS"))))
steps=(formatted vet static tests)
if [ $# -gt 0 ]; then
  steps=(formatted vet named)
else
  for step in ${STEPS-}; do
    [ -n "${minutes[$step]-}" ] || { echo "test.sh: STEPS has $step, which is no step" >&2; exit 2; }
    [ "$step" != kernels ] || [ -n "$OVERLAYDIFF_KERNELS" ] || continue
    steps+=("$step")
  done
fi

passed='' failed='' left=0 began=$SECONDS
for step in "${steps[@]}"; do left=$((left + minutes[$step])); done
for step in "${steps[@]}"; do
  echo "== $step (about $left min left)" >&2
  start=$SECONDS
  if "$step" "$@" >&2; then passed+=" $step"; else failed+=" $step"; fi
  echo "== $step took $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s" >&2
  left=$((left - minutes[$step]))
done

took="$(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
if [ -n "$failed" ]; then
  echo "test.sh: failed:$failed; see above. Passed:$passed. $took" >&2
  exit 1
fi
echo "test.sh: all passed:$passed. $took" >&2
