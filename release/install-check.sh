#!/usr/bin/env bash
# Checks the modules as strangers get them: the last commit, served as a release that is not
# published yet. Installs the command with go install, and imports the library in a module
# of its own, which may get no more than eight others by that.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH="$PATH:/usr/local/go/bin" GOWORK=off GOFLAGS=-modcacherw
library=github.com/overlaydiff/overlaydiff
version=v0.1.0 most=8

./tidy.sh -check
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go run ./proxy -version "$version" -out "$work/proxy" -repository "$(git rev-parse --show-toplevel)"

# A cache of its own: a module of that version must not stay in the usual one, which is asked before the network.
GOPROXY="file://$work/proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
export GOPROXY GOMODCACHE="$work/cache" GOBIN="$work/bin" GONOSUMDB="$library,$library/*" GONOSUMCHECK=1
go install "$library/cmd/overlaydiff@$version"
"$work/bin/overlaydiff" --version

mkdir "$work/importer"
cd "$work/importer"
cat >main.go <<END
package main

import (
	"context"
	"fmt"
	"os"

	"$library"
)

func main() {
	stack, err := overlaydiff.FromMount(context.Background(), os.Args[1])
	fmt.Println(stack.Upper, err)
}
END
go mod init example.com/importer 2>/dev/null
go get "$library@$version"
go mod tidy
go build -o importer .
others=$(go mod graph | tr ' ' '\n' | sed 's/@.*//' | grep -v -e '^example.com/importer$' -e '^go$' -e '^toolchain$' -e "^$library\$" | sort -u)
count=$(wc -l <<<"$others")
echo "An importer of the library gets $count other modules in its module graph:" $others
[ "$count" -le "$most" ] || { echo "install-check.sh: more than $most" >&2; exit 1; }
