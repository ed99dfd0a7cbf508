#!/usr/bin/env bash
# Tidies go.mod and go.sum of the library and of the command, or with -check says whether that
# would change something.
#
# The command's go.mod requires a release of the library, which may not be published yet, and
# has no replace, or go install would refuse it. So it is tidied in a copy that has one.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export GOWORK=off PATH="$PATH:/usr/local/go/bin"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp go.mod go.sum "$work"
go mod tidy -modfile "$work/go.mod"
mkdir "$work/command"
cp cmd/overlaydiff/go.mod "$work/command/"
[ ! -e cmd/overlaydiff/go.sum ] || cp cmd/overlaydiff/go.sum "$work/command/"
library=github.com/overlaydiff/overlaydiff
go mod edit -replace "$library=$PWD" "$work/command/go.mod"
(cd cmd/overlaydiff && go mod tidy -modfile "$work/command/go.mod")
go mod edit -dropreplace "$library" "$work/command/go.mod"

changed=
for f in go.mod go.sum; do
  cmp -s "$work/$f" "$f" || changed="$changed $f"
  cmp -s "$work/command/$f" "cmd/overlaydiff/$f" || changed="$changed cmd/overlaydiff/$f"
done
if [ "${1-}" = -check ]; then
  [ -z "$changed" ] || { echo "tidy.sh: not tidy:$changed; run release/tidy.sh" >&2; exit 1; }
  exit 0
fi
cp "$work"/go.mod "$work"/go.sum .
cp "$work"/command/go.mod "$work"/command/go.sum cmd/overlaydiff/
