#!/usr/bin/env bash
# Compares the speed of overlaydiff at a revision with that of the work tree.
#
#   bench/compare.sh BASE [ROUNDS]    or: make bench-compare BASE=rev
#
# The work tree's benchmarks measure both, in turns, so that whatever else the
# machine does meets both alike. It prints ratios (work tree to BASE) and no
# times: those would only say which machine this is. OVERLAYDIFF_BENCH names the
# set of scenarios, BENCH the benchmarks (a pattern).
set -euo pipefail
die() { echo "compare.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] && [ $# -le 2 ] || die "say which revision to compare with: compare.sh BASE [ROUNDS]"
cd "$(dirname "$(readlink -f "$0")")/.."
[ "$(id -u)" = 0 ] || die "needs root: the benchmarks mount overlays"
base=$(git rev-parse --verify --quiet "$1^{commit}") || die "no revision '$1'"
rounds=${2:-6}

dir=$(mktemp -d)
cleanup() {
  git worktree remove --force "$dir/base" 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

git worktree add --quiet --detach "$dir/base" "$base"
rm -rf "$dir/base/bench"
mkdir "$dir/base/bench"
cp bench/*.go "$dir/base/bench/"
go test -c -o "$dir/new.test" ./bench
(cd "$dir/base" && go test -c -o "$dir/old.test" ./bench) ||
  die "the benchmarks of the work tree don't fit the library of $1: they use what it has not"

for i in $(seq "$rounds"); do
  echo "compare.sh: round $i of $rounds" >&2
  for side in old new; do
    (cd bench && "$dir/$side.test" -test.run '^$' -test.bench "${BENCH:-^Benchmark(Usage|Changes)\$}" \
      -test.benchtime "${BENCHTIME:-200ms}" -test.timeout 1h) >>"$dir/$side.txt"
  done
done

# Of benchstat's table: the name, how the two differ, and how sure that is.
(cd bench/report && GOWORK=off go tool benchstat -format csv "old=$dir/old.txt" "new=$dir/new.txt") 2>/dev/null |
  awk -F, '
    /vs base/ { head = sprintf("%s%-10s %-14s %s", n ? "\n" : "", $2, "new/old", "benchmark"); next }
    NF >= 7 && $2 + 0 > 0 && $4 + 0 > 0 {
      if (head) print head
      head = ""; n++
      sub(/-[0-9]+$/, "", $1)
      printf "%-10.3f %-14s %s\n", $4 / $2, $6 " " $7, $1
    }
  '
