#!/usr/bin/env bash
# Makes an image of two exported layers and runs a program in it with Docker,
# Podman and containerd, as Debian has them: docker load of a docker-archive,
# podman load and ctr images import of an OCI archive. Root; installs what is
# missing; the daemons have directories of their own, and end with the script.
#
#   integration/images.sh [docker|podman|containerd]...    all, unless some are named
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH:/usr/local/go/bin" DEBIAN_FRONTEND=noninteractive

[ "$(id -u)" = 0 ] || { echo "images.sh: mounting overlays and running daemons takes root" >&2; exit 1; }
runtimes=("$@")
[ $# -gt 0 ] || runtimes=(docker podman containerd)

packages=(busybox-static runc containerd)
for runtime in "${runtimes[@]}"; do
  case $runtime in
    docker) packages+=(docker.io) ;;
    podman) packages+=(podman) ;;
    containerd) ;;
    *) echo "images.sh: unknown runtime '$runtime': docker, podman or containerd" >&2; exit 2 ;;
  esac
done
dpkg -s "${packages[@]}" >/dev/null 2>&1 || {
  apt-get -q update && apt-get -q -y install --no-install-recommends "${packages[@]}"
} >/dev/null </dev/null

work=$(mktemp -d /var/tmp/overlaydiff-images.XXXXXX)
finish() {
  # The daemons, and what they started: all have the directory in their command lines.
  for signal in TERM TERM TERM TERM KILL; do
    pkill "-$signal" -f -- "$work/" || break
    sleep 1
  done
  # What the daemons mounted below their directories; deepest first.
  awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r at; do
    umount -l "$at" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap finish EXIT

go build -o "$work/overlaydiff" ./cmd/overlaydiff

# overlay LOWER NAME: mounts an overlay, runs edit_NAME in it and exports what
# that changed as $work/NAME.tar and, compressed, NAME.tar.gz.
overlay() {
  local lower=$1 name=$2 dir=$work/$2
  mkdir -p "$dir"/{upper,work,merged}
  mount -t overlay overlaydiff -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/merged"
  (cd "$dir/merged" && "edit_$name")
  "$work/overlaydiff" verify --tmp "$work" "$dir/merged" >/dev/null
  "$work/overlaydiff" export --json -o "$work/$name.tar" "$dir/merged" >"$work/$name.json"
  "$work/overlaydiff" export --json --compression gzip -o "$work/$name.tar.gz" "$dir/merged" >"$work/$name.gz.json"
  umount "$dir/merged"
}

edit_base() {
  mkdir -p bin etc dir/sub tmp
  chmod 1777 tmp
  cp "$(command -v busybox)" bin/busybox
  ln bin/busybox bin/sh
  ln -s busybox bin/cat
  echo 'root:x:0:0::/:/bin/sh' >etc/passwd
  echo old >dir/changed
  echo old >dir/sub/hidden
  echo gone >gone
}
edit_change() {
  echo new >dir/changed
  rm gone
  rm -r dir/sub
  mkdir dir/sub
  echo here >dir/sub/shown
  ln bin/busybox bin/stat # a new name of a lower file
  touch -d '2001-02-03 04:05:06.789 UTC' dir/dated
  chmod 4750 dir/dated
  chown 12:34 dir/dated
  chmod 4750 dir/dated
}
mkdir "$work/nothing" "$work/nothing2"
overlay "$work/nothing" base
overlay "$work/base/upper" change

# What the program in the container prints, whatever runs it.
program='cat /dir/changed /dir/sub/shown; [ ! -e /gone ] && [ ! -e /dir/sub/hidden ] && echo deleted; stat -c "%a %u:%g %Y %h" /dir/dated; [ "$(stat -c %i /bin/busybox)" = "$(stat -c %i /bin/stat)" ] && echo linked; echo $((1 + 1))'
want=$'new\nhere\ndeleted\n4750 12:34 981173106 1\nlinked\n2'

field() { sed -E "s/.*\"$2\":\"?([^\",}]*).*/\1/" "$1"; }
diff_ids="\"$(field "$work/base.json" diff_id)\",\"$(field "$work/change.json" diff_id)\""
config="{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$diff_ids]}}"

# docker-archive: layers as they are.
archive=$work/archive
mkdir "$archive"
printf %s "$config" >"$archive/config.json"
ln "$work/base.tar" "$work/change.tar" "$archive/"
echo '[{"Config":"config.json","RepoTags":["overlaydiff/test:1"],"Layers":["base.tar","change.tar"]}]' >"$archive/manifest.json"
tar -C "$archive" -cf "$work/docker.tar" .

# OCI layout: layers compressed, all by digest.
layout=$work/layout blobs=$work/layout/blobs/sha256
mkdir -p "$blobs"
blob() { # FILE: puts it there and prints its digest and size
  local sum
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  cp "$1" "$blobs/$sum"
  printf '"digest":"sha256:%s","size":%s' "$sum" "$(stat -c %s "$1")"
}
printf %s "$config" >"$work/config.json"
layer='{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",'
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[%s%s},%s%s}]}' \
  "$(blob "$work/config.json")" "$layer" "$(blob "$work/base.tar.gz")" "$layer" "$(blob "$work/change.tar.gz")" >"$work/manifest.json"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"localhost/overlaydiff/test:1","org.opencontainers.image.ref.name":"localhost/overlaydiff/test:1"}}]}' \
  "$(blob "$work/manifest.json")" >"$layout/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
tar -C "$layout" -cf "$work/oci.tar" .

# daemon LOG SOCKET CMD...: starts a daemon and waits for its socket.
daemon() {
  local log=$1 socket=$2
  shift 2
  "$@" >"$log" 2>&1 &
  for _ in $(seq 300); do
    [ -S "$socket" ] && return
    kill -0 "$!" 2>/dev/null || break
    sleep 0.1
  done
  echo "images.sh: $1 does not run:" >&2
  tail -n 20 "$log" >&2
  return 1
}

run_docker() {
  local socket=$work/docker/docker.sock
  mkdir "$work/docker"
  daemon "$work/docker.log" "$socket" dockerd --data-root "$work/docker/data" --exec-root "$work/docker/exec" \
    --pidfile "$work/docker/pid" --host "unix://$socket" --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2
  for _ in $(seq 100); do docker -H "unix://$socket" version >/dev/null 2>&1 && break; sleep 0.1; done
  docker -H "unix://$socket" load -q -i "$work/docker.tar" >&2
  docker -H "unix://$socket" run --rm --network none overlaydiff/test:1 /bin/sh -c "$program"
}

run_podman() {
  local podman=(podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp"
    --cgroup-manager cgroupfs --events-backend file --storage-driver overlay --runtime runc)
  "${podman[@]}" load -q -i "$work/oci.tar" >&2
  "${podman[@]}" run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none localhost/overlaydiff/test:1 /bin/sh -c "$program"
}

run_containerd() {
  local address=$work/containerd/sock
  mkdir "$work/containerd"
  printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
    "$work/containerd/root" "$work/containerd/state" "$address" >"$work/containerd/config.toml"
  daemon "$work/containerd.log" "$address" containerd --config "$work/containerd/config.toml"
  for _ in $(seq 100); do ctr -a "$address" version >/dev/null 2>&1 && break; sleep 0.1; done
  ctr -a "$address" images import "$work/oci.tar" >&2
  ctr -a "$address" run --rm localhost/overlaydiff/test:1 test /bin/sh -c "$program"
}

failed=
for runtime in "${runtimes[@]}"; do
  got=$("run_$runtime") || got="it failed: $got"
  if [ "$got" = "$want" ]; then
    echo "$runtime: the image of two exported layers runs"
  else
    printf '%s: wrong; want\n%s\ngot\n%s\n' "$runtime" "$want" "$got"
    failed=1
  fi
done
[ -z "$failed" ]
