# What the scripts here share, to be sourced: runtimes as Debian has them, an
# image of two layers made by overlaydiff, and daemons with directories of their
# own below $node, as on a node, that end with the script.
#
# It sets $work, a directory that goes with the script; $node, where the runtimes'
# directories are; and builds $work/overlaydiff.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH:/usr/local/go/bin" DEBIAN_FRONTEND=noninteractive
name=$(basename "$0")
die() { echo "$name: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "mounting overlays and running daemons takes root"

# install PACKAGE...: installs those that are missing.
install() {
  dpkg -s "$@" >/dev/null 2>&1 || {
    apt-get -q update && apt-get -q -y install --no-install-recommends "$@"
  } >/dev/null </dev/null
}

# build_containerd2: builds containerd, ctr and the shim of containerd 2, of the release that
# integration/containerd requires, into $containerd2; CONTAINERD2=DIR has them already.
build_containerd2() {
  local version
  [ ! -x "$containerd2/containerd" ] || return 0
  version=$(GOWORK=off go -C integration/containerd list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
  # Without the parts that take long to build and that nothing here asks for.
  GOBIN=$containerd2 CGO_ENABLED=0 go install -tags no_cri,no_btrfs,no_zfs,no_devmapper \
    github.com/containerd/containerd/v2/cmd/{containerd,ctr,containerd-shim-runc-v2}@"$version"
}

# packages_of RUNTIME...: prints what they need.
packages_of() {
  echo busybox-static runc containerd
  for runtime in "$@"; do
    case $runtime in
      docker) echo docker.io ;;
      podman) echo podman ;;
      containerd) ;;
      *) echo "$name: unknown runtime '$runtime': docker, podman or containerd" >&2; exit 2 ;;
    esac
  done
}

work=$(mktemp -d /var/tmp/od.XXXXXX) # short: Podman takes 50 bytes for its directory
node=$work/node
containerd2=${CONTAINERD2:-$work/containerd2}
# containerd's ctr 1.6 ignores --runc-root: runc keeps the state of a container in a directory of
# the machine, by namespace and name, where it stays if the shim is killed.
namespace=$(basename "$work")
# running DIR: prints the processes that have DIR, below $work, in their command
# lines.
running() { grep -alsF -f - /proc/[0-9]*/cmdline <<<"$1" | cut -d/ -f3; }
# end_daemons: ends them, and what they started.
end_daemons() {
  local signal pids
  for signal in TERM TERM TERM TERM KILL; do
    pids=$(running "$node/") || true
    [ -n "$pids" ] || break
    kill "-$signal" $pids 2>/dev/null || true
    sleep 1
  done
}
# contained: prints the processes whose root is an overlay below $work: those of
# containers, which outlive their daemon.
contained() {
  local table
  for table in /proc/[0-9]*/mountinfo; do
    awk -v dir="upperdir=$work/" '$5 == "/" && index($0, dir) { split(FILENAME, p, "/"); print p[3] }' "$table" 2>/dev/null || true
  done
}
# unmount DIR: unmounts what the daemons mounted below DIR; deepest first.
unmount() {
  awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r at; do
    umount -l "$at" 2>/dev/null || true
  done
}
finish() {
  end_daemons
  { running "$work/"; contained; } | xargs -r kill -KILL 2>/dev/null || true
  unmount "$work"
  rm -rf "$work" "/run/containerd/runc/$namespace"
}
# fresh: makes $node a node without anything on it.
fresh() {
  end_daemons
  contained | xargs -r kill -KILL 2>/dev/null || true
  sleep 1
  unmount "$node"
  rm -rf "$node"
  mkdir -p "$node/etc" "$node/run"
  OPTS=() PODMAN=() ctr=ctr
}
trap finish EXIT
mkdir "$node"
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

# make_image: makes an image of two layers, edit_base and edit_change, as a
# docker-archive $work/docker.tar and an OCI archive $work/oci.tar.
make_image() {
  local archive=$work/archive layout=$work/layout diff_ids config layer
  mkdir "$work/nothing"
  overlay "$work/nothing" base
  overlay "$work/base/upper" change
  diff_ids="\"$(field "$work/base.json" diff_id)\",\"$(field "$work/change.json" diff_id)\""
  config="{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$diff_ids]}}"

  # docker-archive: layers as they are.
  mkdir "$archive"
  printf %s "$config" >"$archive/config.json"
  ln "$work/base.tar" "$work/change.tar" "$archive/"
  echo '[{"Config":"config.json","RepoTags":["overlaydiff/test:1"],"Layers":["base.tar","change.tar"]}]' >"$archive/manifest.json"
  tar -C "$archive" -cf "$work/docker.tar" .

  # OCI layout: layers compressed, all by digest.
  blobs=$layout/blobs/sha256
  mkdir -p "$blobs"
  printf %s "$config" >"$work/config.json"
  layer='{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",'
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[%s%s},%s%s}]}' \
    "$(blob "$work/config.json")" "$layer" "$(blob "$work/base.tar.gz")" "$layer" "$(blob "$work/change.tar.gz")" >"$work/manifest.json"
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"localhost/overlaydiff/test:1","org.opencontainers.image.ref.name":"localhost/overlaydiff/test:1"}}]}' \
    "$(blob "$work/manifest.json")" >"$layout/index.json"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  tar -C "$layout" -cf "$work/oci.tar" .
}
field() { sed -E "s/.*\"$2\":\"?([^\",}]*).*/\1/" "$1"; }
blob() { # FILE: puts it into the layout and prints its digest and size
  local sum
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  cp "$1" "$blobs/$sum"
  printf '"digest":"sha256:%s","size":%s' "$sum" "$(stat -c %s "$1")"
}

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
  echo "$name: $1 does not run:" >&2
  tail -n 20 "$log" >&2
  return 1
}

# start_RUNTIME starts its daemon; RUNTIME_cmd is its client.
start_docker() {
  mkdir -p "$node/run"
  daemon "$work/docker.log" "$node/run/docker.sock" dockerd --data-root "$node/var/lib/docker" --exec-root "$node/run/docker" \
    --pidfile "$node/run/docker.pid" --host "unix://$node/run/docker.sock" --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2
  for _ in $(seq 100); do docker_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
}
docker_cmd() { docker -H "unix://$node/run/docker.sock" "$@"; }
start_podman() { :; }
PODMAN=() # more options
podman_cmd() {
  podman --root "$node/var/lib/containers/storage" --runroot "$node/run/containers/storage" --tmpdir "$node/run/libpod" \
    --cgroup-manager cgroupfs --events-backend file --storage-driver overlay --runtime runc --runtime-flag "root=$node/run/runc" "${PODMAN[@]}" "$@"
}
start_containerd() {
  mkdir -p "$node/run"
  printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
    "$node/var/lib/containerd" "$node/run/containerd" "$node/run/containerd.sock" >"$node/run/containerd.toml"
  daemon "$work/containerd.log" "$node/run/containerd.sock" containerd --config "$node/run/containerd.toml"
  for _ in $(seq 100); do containerd_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
}
# build_plugin builds overlaydiff-differ; start_plugin SOCKET starts it at $plugin, for the
# containerd at SOCKET, and sets $server.
plugin=$node/run/differ.sock
build_plugin() { CGO_ENABLED=0 GOWORK=off go -C integration/containerd build -trimpath -o "$work/overlaydiff-differ" ./cmd/overlaydiff-differ; }
start_plugin() {
  mkdir -p "$node/run"
  daemon "$work/differ.log" "$plugin" "$work/overlaydiff-differ" -address "$plugin" -containerd "$1" -root "$node/var/lib/overlaydiff"
  server=$!
}
ctr=ctr
containerd_cmd() { CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$ctr" -n "$namespace" -a "$node/run/containerd.sock" "$@"; }
load_docker() { docker_cmd load -q -i "$work/docker.tar" >&2; }
load_podman() { podman_cmd load -q -i "$work/oci.tar" >&2; }
load_containerd() { containerd_cmd images import "$work/oci.tar" >&2; }
# run_RUNTIME NAME CMD...: runs a container; docker and podman take OPTS.
OPTS=()
run_docker() { docker_cmd run --name "$1" --network none "${OPTS[@]}" overlaydiff/test:1 "${@:2}"; }
run_podman() {
  podman_cmd run --name "$1" --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none "${OPTS[@]}" \
    localhost/overlaydiff/test:1 "${@:2}"
}
run_containerd() { containerd_cmd run --runc-root "$node/run/runc" "${OPTS[@]}" localhost/overlaydiff/test:1 "$@"; }
