#!/usr/bin/env bash
# Builds a release of the commit HEAD in dist/release: what is not committed is not in it.
#
#   release/dist.sh                    for all architectures that the project supports
#   release/dist.sh amd64 arm64        for these; one must be this machine's
#   RELEASE_DIR=DIR release/dist.sh    in DIR, which must not have files
#
# For each architecture: an archive with the static command, man pages and shell completions;
# a .deb and a .rpm; a bill of materials (CycloneDX). For all: a container image (an OCI layout
# in a tar archive) and SHA256SUMS. Equal commits and Go versions give equal bytes, which
# release/reproducible.sh checks. Needs no root, and the network for modules alone.
set -euo pipefail

die() { echo "dist.sh: $*" >&2; exit 1; }

cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="$PATH:/usr/local/go/bin" LC_ALL=C TZ=UTC
umask 022
top=$PWD
out=$(readlink -m "${RELEASE_DIR-dist/release}")
if [ -z "${RELEASE_DIR-}" ]; then
  rm -rf "$out"
fi
mkdir -p "$out"
[ -z "$(ls -A "$out")" ] || die "$out has files: name an empty directory"
[ $# -gt 0 ] || set -- $(testenv/arch.sh -list)
machine=$(go env GOHOSTARCH)
case " $* " in *" $machine "*) ;; *) die "name this machine's architecture, too: $machine writes the man pages and the layers" ;; esac

tmp=$(mktemp -d "${TMPDIR:-/tmp}/overlaydiff-dist.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A clone: go build notes the version only where .git is a directory, and only of a clean tree.
git clone -q --no-checkout "$top" "$tmp/source"
git -C "$tmp/source" -c advice.detachedHead=false checkout -q "$(git rev-parse HEAD)"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cd "$tmp/source"

stage=$tmp/stage
mkdir -p "$stage"/{bin,layer,image}
# Options of the caller's would change the bytes; the processor's level is Go's default.
unset GOFLAGS GOEXPERIMENT GOAMD64 GO386 GOARM GOARM64 GOPPC64 GORISCV64
for arch; do
  echo "dist.sh: build for $arch" >&2
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=true -ldflags='-s -w' -o "$stage/bin/$arch/overlaydiff" ./cmd/overlaydiff
done
overlaydiff=$stage/bin/$machine/overlaydiff
version=$("$overlaydiff" --version | awk '{ print $2 }')
[[ $version == v[0-9]* ]] || die "the command has no version but $version: is this a git clone?"
version=${version#v}

# What goes below /usr beside the command.
share=$stage/share
"$overlaydiff" man --to "$share/share"
gzip -9n "$share"/share/man/man1/*.1
mkdir -p "$share/share/zsh/vendor-completions" "$share/share/doc/overlaydiff" "$share/lib/systemd/system"
cp "$share"/share/zsh/{site-functions,vendor-completions}/_overlaydiff # Fedora's and Debian's directory
cp LICENSE "$share/share/doc/overlaydiff/copyright"
cp README.md CHANGELOG.md SECURITY.md "$share/share/doc/overlaydiff"
sed 's|/usr/local/bin|/usr/bin|' contrib/systemd/overlaydiff-serve.service >"$share/lib/systemd/system/overlaydiff-serve.service"

# archive FILE DIR: all that is in DIR, in one order, with one time and root's.
archive() {
  tar -C "$2" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf "$1" .
}

mkdir "$tmp/empty"
own=()
if [ "$(id -u)" != 0 ]; then # root's files, of an overlay whose marks an ordinary user may read
  own=(--userxattr --uid-map "0:$(id -u):1" --gid-map "0:$(id -g):1")
fi
for arch; do
  # The image's only layer is what this overlay adds to nothing.
  upper=$tmp/upper/$arch
  install -D -m 755 "$stage/bin/$arch/overlaydiff" "$upper/usr/bin/overlaydiff"
  install -D -m 644 LICENSE "$upper/usr/share/doc/overlaydiff/copyright"
  install -d -m 1777 "$upper/tmp"
  "$overlaydiff" export --lower "$tmp/empty" --upper "$upper" "${own[@]}" --compression gzip --json -o "$stage/layer/$arch.tar.gz" >"$stage/layer/$arch.json"

  tree=$tmp/archive/overlaydiff-$version-linux-$arch
  install -D -m 755 "$stage/bin/$arch/overlaydiff" "$tree/bin/overlaydiff"
  cp -r "$share/share" "$tree"
  archive "$tmp/archive.tar" "$tmp/archive"
  gzip -9nc "$tmp/archive.tar" >"$out/overlaydiff-$version-linux-$arch.tar.gz"
  rm -r "$tmp/archive"
done

(cd release && GOWORK=off go build -o "$tmp/release" .) # not go run: it leaves the program behind when it is ended
"$tmp/release" -stage "$stage" -out "$out" -version "$version" -architectures "$*"
archive "$out/overlaydiff-$version-image.tar" "$stage/image"
cd "$out"
sha256sum -- * >"$tmp/sums"
mv "$tmp/sums" SHA256SUMS
echo "dist.sh: version $version is in $out" >&2
