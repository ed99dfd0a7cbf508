#!/usr/bin/env bash
# Checks a release that dist.sh made, as a user would install it. Root, on Debian.
#
#   release/check.sh [DIR]      DIR instead of dist/release
#
# The checksums are right. Each command is static and runs: those for other architectures in
# qemu-user. Each command measures a directory and applies the image's layer for its
# architecture. dpkg installs the package in a new root, with man pages and completions. The
# image runs ps in podman, if there is podman.
set -euo pipefail

die() { echo "check.sh: $*" >&2; exit 1; }

cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
dir=$(readlink -e "${1-dist/release}") || die "there is no release in ${1-dist/release}: run release/dist.sh"
[ "$(id -u)" = 0 ] || die "needs root: dpkg installs into a new root"
qemu=$(testenv/vm/kernels.sh qemu-user | sed -n 's/^qemu-user //p')
[ -x "$qemu/usr/bin/qemu-arm64" ] || die "there is no qemu-user to be had, see above"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
(cd "$dir" && sha256sum --quiet --strict -c SHA256SUMS) || die "checksums differ"

mkdir "$tmp/image" "$tmp/measured"
tar -C "$tmp/image" -xf "$dir"/overlaydiff-*-image.tar
echo 12345 >"$tmp/measured/file"

# layer ARCH prints the path of the image's layer for ARCH.
layer() {
  local blobs=$tmp/image/blobs/sha256 index manifest
  index=$(perl -ne 'print $1 if /"digest":"sha256:(\w+)"/' "$tmp/image/index.json")
  manifest=$(perl -MJSON::PP -0ne 'for (@{decode_json($_)->{manifests}}) { print substr $_->{digest}, 7 if $_->{platform}{architecture} eq "'"$1"'" }' "$blobs/$index")
  perl -MJSON::PP -0ne 'print "'"$blobs"'/", substr decode_json($_)->{layers}[0]{digest}, 7' "$blobs/$manifest"
}

machine=$(go env GOHOSTARCH)
for archive in "$dir"/overlaydiff-*-linux-*.tar.gz; do
  arch=${archive##*-linux-} arch=${arch%.tar.gz}
  mkdir "$tmp/$arch"
  tar -C "$tmp/$arch" --strip-components 2 -xzf "$archive"
  command=$tmp/$arch/bin/overlaydiff
  go version -m "$command" | grep -q 'CGO_ENABLED=0' || die "$arch: built with cgo"
  run=("$command")
  [ "$arch" = "$machine" ] || run=("$qemu/usr/bin/qemu-$arch" "$command")
  version=$("${run[@]}" --version) || die "$arch: it does not run"
  [[ $version == "overlaydiff v"*" linux/$arch)" ]] || die "$arch: it prints $version"
  [[ $("${run[@]}" usage --json --upper "$tmp/measured") == '{"bytes":6,'* ]] || die "$arch: usage does not find the six bytes"
  "${run[@]}" apply --to "$tmp/$arch/root" "$(layer "$arch")" >/dev/null || die "$arch: it does not apply the image's layer"
  cmp "$command" "$tmp/$arch/root/usr/bin/overlaydiff" || die "$arch: the image has another command than the archive"
  echo "check.sh: $version: runs, measures, and is in the image"
done

root=$tmp/root
mkdir -p "$root/var/lib/dpkg"/{updates,info}
touch "$root/var/lib/dpkg"/{status,available}
dpkg --root="$root" --force-script-chrootless --log=/dev/null -i "$dir"/overlaydiff_*_"$(dpkg --print-architecture)".deb >/dev/null
for file in bin/overlaydiff share/man/man1/overlaydiff{,-changes,-ps}.1.gz share/bash-completion/completions/overlaydiff \
  share/zsh/vendor-completions/_overlaydiff share/fish/vendor_completions.d/overlaydiff.fish share/doc/overlaydiff/copyright lib/systemd/system/overlaydiff-serve.service; do
  [ -s "$root/usr/$file" ] || die "the package has no /usr/$file"
done
gzip -dc "$root/usr/share/man/man1/overlaydiff-ps.1.gz" | grep -q '^\.SH NAME' || die "overlaydiff-ps.1.gz is no man page"
bash -n "$root/usr/share/bash-completion/completions/overlaydiff"
dpkg --root="$root" --force-script-chrootless --log=/dev/null --purge overlaydiff >/dev/null
[ ! -e "$root/usr/bin" ] || die "the package leaves files behind"
echo "check.sh: the .deb installs, with man pages and completions, and goes"

# A store with one container, for ps.
store=$tmp/node/var/lib/isulad/storage id=$(printf 'a%.0s' $(seq 64))
mkdir -p "$store/overlay-containers/$id" "$store/overlay-layers/$id" "$store/overlay/$id/diff"
echo "{\"id\":\"$id\",\"names\":[\"web\"],\"image\":\"busybox:latest\"}" >"$store/overlay-containers/$id/container.json"
echo "{\"id\":\"$id\"}" >"$store/overlay-layers/$id/layer.json"
if command -v podman >/dev/null; then
  podman=(podman --root "$tmp/podman" --runroot "$tmp/podman-run" --storage-driver vfs --cgroup-manager cgroupfs --log-level error)
  ! command -v runc >/dev/null || podman+=(--runtime runc --runtime-flag "root=$tmp/runc")
  trap '"${podman[@]}" rmi -af >/dev/null 2>&1; rm -rf "$tmp"' EXIT
  image=$("${podman[@]}" load -q -i "$(echo "$dir"/overlaydiff-*-image.tar)" | sed -n 's/^Loaded image: //p')
  [[ $image == localhost/overlaydiff:* ]] || die "podman loads the image as '$image'"
  said=$("${podman[@]}" run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -v "$tmp/node:/node:ro" "$image" ps --root /node 2>&1) || die "the image does not run ps: $said"
  [[ $said == *" web"* ]] || die "ps in the image prints: $said"
  echo "check.sh: the image runs ps --root /node in podman, and finds a container"
else
  echo "check.sh: there is no podman: the image was unpacked and not run"
fi
