#!/usr/bin/env bash
# Runs tests under qemu-user, built for other architectures: parsers, the seeds and corpora of
# the fuzz targets, what reads directories, and layers there and back. As root.
#
#   testenv/arch-test.sh                     arm64, riscv64, ppc64le and s390x, and system calls of 386
#   testenv/arch-test.sh s390x ./layer       one architecture, one package; ./layer=^TestX$ one test
#
# System calls are those of this machine's kernel, so mounts are real; a test that asks for more
# than qemu-user translates is in arch-test.txt, with the reason. No other test may be skipped.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"

archs=() packages=()
for arg; do
  case $arg in
    . | .=* | ./*) packages+=("$arg") ;;
    *) archs+=("$arg") ;;
  esac
done
[ ${#archs[@]} -gt 0 ] || archs=(arm64 riscv64 ppc64le s390x)
# A package, and after = which of its tests to run: all, unless most are about processes, mounts
# or races, and take hours in an emulator.
[ ${#packages[@]} -gt 0 ] || packages=(./internal/sys ./internal/idmap ./diff ./whiteout ./cmd/overlaydiff/stores=^Fuzz '.=^TestExport_SameEverywhere$'
  './layer=^Fuzz|^TestApply_(Types|GNUTar)$|^TestCompression_RoundTrip$' './mountutil=^Fuzz')
[ "$(id -u)" = 0 ] || { echo "arch-test.sh: the tests need root" >&2; exit 1; }

# Debian 12's qemu-user lacks openat2: kernels.sh fetches a newer one.
qemu=$(testenv/vm/kernels.sh qemu-user | sed -n 's/^qemu-user //p')
[ -x "$qemu/usr/bin/qemu-arm64" ] || { echo "arch-test.sh: there is no qemu-user to be had, see above" >&2; exit 1; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# leftOut ARCH PACKAGE: the tests in arch-test.txt for them, as an expression.
leftOut() {
  awk -v arch="$1" -v package="$2" '!/^#/ && ($1 == arch || $1 == "*") && $2 == package { print $3 }' testenv/arch-test.txt | paste -sd '|'
}

# try ARCH PACKAGE: builds the package's tests and runs them. A test needs its directory, and a
# mount namespace, which it can't make by running itself again: the kernel does not know its format.
try() {
  local arch=$1 package=${2%%=*} only= skip status name passed
  case $2 in *=*) only=${2#*=} ;; esac
  skip=$(leftOut "$arch" "$package")
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch go test -c -o "$work/test" "$package" || return
  local run=(env OVERLAYDIFF_REQUIRE=1 OVERLAYDIFF_TEST_NAMESPACE=1 OVERLAYDIFF_FS=tmpfs OVERLAYDIFF_CASES=6 unshare --mount "$qemu/usr/bin/qemu-$arch" "$work/test")
  for name in ${skip//|/ }; do # one that was renamed must not stay in the list
    (cd "$package" && "${run[@]}" -test.list "$name") | grep -q "^Test\|^Fuzz" || { echo "arch-test.sh: arch-test.txt has $name of $package, which is no test" >&2; return 1; }
  done
  (cd "$package" && "${run[@]}" -test.short -test.v -test.timeout 20m ${only:+-test.run "$only"} ${skip:+-test.skip "$skip"}) >"$work/out" 2>&1
  status=$?
  passed=$(grep -c '^--- PASS' "$work/out")
  printf '%s %s: %d tests passed' "$arch" "$package" "$passed" >&2
  if [ $status -ne 0 ] || [ "$passed" = 0 ] || grep -q '^--- SKIP' "$work/out"; then
    echo ", and others did not (exit status $status):" >&2
    grep -vE '^(=== |\s*--- PASS)' "$work/out" >&2
    return 1
  fi
  echo >&2
}

failed=
for arch in "${archs[@]}"; do
  for package in "${packages[@]}"; do
    try "$arch" "$package" || failed="$failed $arch $package;"
  done
done
# What differs with 32 bits is in there; testenv's own trees have owners and times that don't fit.
[ $# -gt 0 ] || try 386 ./internal/sys || failed="$failed 386 ./internal/sys;"
[ -z "$failed" ] || { echo "arch-test.sh: failed:$failed see above" >&2; exit 1; }
