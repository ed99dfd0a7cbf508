#!/usr/bin/env bash
# Makes a table of container runtimes, in the modes in which they are run, and of whether
# overlaydiff lists a container as it is: its state, its size by the runtime's own number, and
# what the container changed. Root; installs what is missing.
#
#   integration/table.sh [ROW]...    rows whose names begin so, all without one
#
# A containerd 2 is built unless CONTAINERD2=DIR has containerd, ctr and the shim. DOCKERD29=FILE
# is a dockerd of 29 (go install github.com/moby/moby/v2/cmd/dockerd); without it, its rows say so.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
wanted=("$@")
install $(packages_of docker podman containerd) jq uidmap fuse-overlayfs

edit_base() {
  mkdir -p bin etc tmp dev proc sys run
  chmod 1777 tmp
  cp "$(command -v busybox)" bin/busybox
  for applet in sh rm sleep; do ln -s busybox "bin/$applet"; done
  echo 'root:x:0:0::/:/bin/sh' >etc/passwd
  echo old >etc/changed
  echo gone >gone
}
edit_change() { echo above >above; }
make_image
chmod 711 "$work"

edits='echo new >>/etc/changed; rm /gone; echo n >/new'
want=$'C /etc/changed\nD /gone\nA /new'
# What runtimes put into the root by themselves.
theirs='^[AC] "?/(dev|proc|sys|run|\.dockerenv)|^[ACD] /etc/(mtab|hosts|hostname|resolv.conf)$'
stay="$edits; exec sleep 10000" ends="$edits"

failed=
report() { # ROW RESULT
  printf '| %s | %s |\n' "$1" "$2"
  case $2 in WRONG*) failed=1 ;; esac
}
od() { "$work/overlaydiff" "$@" 2>>"$work/errors"; }
line() { od ps --json --root "$node" --compat "${TOOL:-docker}" "$1"; }
# expect ROW NAME STATE SIZE [EXIT]: what ps says of a container, and changes; EXIT is that of changes
# of what is no overlay.
expect() {
  local row=$1 container=$2 state=$3 size=$4 status=${5:-0} got why='' rc=0
  : >"$work/errors"
  got=$(line "$container" | jq -r '[.state, .size_rw // "-"] | @tsv') || why="ps: $(tail -n 1 "$work/errors")"
  [ "$got" = "$state	$size" ] || why="$why ps says ${got//	/ }, not $state $size;"
  got=$(od changes --root "$node" "$container") || rc=$?
  [ "$rc" = "$status" ] || why="$why changes: exit $rc, $(tail -n 1 "$work/errors");"
  [ "$rc" != 0 ] || got=$(grep -vE "$theirs" <<<"$got") || true
  [ "$rc" != 0 ] || [ "$got" = "$want" ] || why="$why changes are ${got//$'\n'/, };"
  report "$row" "${why:+WRONG:}${why:-right}"
}
# wants ROW: it is asked for.
wants() {
  local w
  [ ${#wanted[@]} -gt 0 ] || return 0
  for w in "${wanted[@]}"; do case $1 in "$w"*) return 0 ;; esac; done
  return 1
}
docker_size() { docker_cmd inspect --size "$1" | jq -r '.[0].SizeRw'; }
docker_rows() { # WHAT: of the daemon that runs
  load_docker
  OPTS=(-d)
  run_docker up /bin/sh -c "$stay" >/dev/null
  run_docker paused /bin/sh -c "$stay" >/dev/null
  OPTS=(-d --read-only --tmpfs /tmp)
  run_docker readonly /bin/sh -c 'exec sleep 10000' >/dev/null
  OPTS=()
  run_docker done /bin/sh -c "$ends" >/dev/null
  docker_cmd create --name made --network none overlaydiff/test:1 /bin/sh >/dev/null
  sleep 2
  docker_cmd pause paused >/dev/null
  expect "$1" up running "$(docker_size up)"
  expect "$1, paused" paused paused "$(docker_size paused)"
  expect "$1, exited" done exited "$(docker_size done)"
  want='' expect "$1, created" made created "$(docker_size made)"
  want='' expect "$1, read-only" readonly running "$(docker_size readonly)"
  docker_cmd unpause paused >/dev/null
}

podman_size() { podman_cmd ps -a -s --format json | jq -r --arg n "$1" '.[] | select(.Names[0] == $n) | .Size.rwSize'; }
podman_up() { # ROW NAME OPTS...
  OPTS=(-d "${@:3}")
  run_podman "$2" /bin/sh -c "$stay" >/dev/null
  sleep 1
  TOOL=podman expect "$1" "$2" running "$(podman_size "$2")"
}
# rootfs NAME: a tree of the image.
rootfs() { mkdir "$work/$1"; tar -C "$work/$1" -xf "$work/base.tar"; echo "$work/$1"; }
podman_rootfs() {
  podman_cmd run -d --name "$1" --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none --rootfs "$2" /bin/sh -c "$stay" >/dev/null
  sleep 1
}

containerd_size() { containerd_cmd snapshots ${SNAPSHOTTER:+--snapshotter "$SNAPSHOTTER"} usage -b "$1" | awk -v k="$1" '$1 == k { print $2 }'; }
containerd_rows() { # WHAT
  load_containerd
  OPTS=(-d)
  run_containerd up /bin/sh -c "$stay"
  run_containerd paused /bin/sh -c "$stay"
  sleep 1
  containerd_cmd task pause paused
  TOOL=containerd expect "$1" up running "$(containerd_size up)"
  TOOL=containerd expect "$1, paused" paused paused "$(containerd_size paused)"
  containerd_cmd task resume paused
}
containerd_config() { # LINES: on top of the usual ones, also where overlaydiff reads it
  local at
  mkdir -p "$node/etc/containerd" "$node/run"
  for at in "$node" ''; do
    printf 'version = 2\nroot = "%s/var/lib/containerd"\nstate = "%s/run/containerd"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s/run/containerd.sock"\n%s\n' \
      "$at" "$at" "$at" "${1//NODE/$at}" >"$([ "$at" ] && echo "$node/run/containerd.toml" || echo "$node/etc/containerd/config.toml")"
  done
  daemon "$work/containerd.log" "$node/run/containerd.sock" "${2:-containerd}" --config "$node/run/containerd.toml"
  for _ in $(seq 100); do containerd_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
}

echo '| runtime and mode | result |'
echo '|---|---|'
row="Docker $(docker --version | sed -E 's/.*version ([0-9.]+).*/\1/'), overlay2"
if wants "$row"; then
  fresh
  start_docker
  docker_rows "$row"
fi
if wants 'Podman'; then
  row="Podman $(podman --version | cut -d' ' -f3)"
  fresh
  load_podman
  podman_up "$row, root" up
  podman_cmd pause up >/dev/null
  TOOL=podman expect "$row, paused" up paused "$(podman_size up)"
  podman_cmd unpause up >/dev/null
  podman_cmd commit -q up localhost/committed:1 >/dev/null 2>&1
  TOOL=podman expect "$row, committed" podman:up running "$(podman_size up)"
  podman_cmd kill up >/dev/null
  sleep 1
  TOOL=podman expect "$row, exited" up "$(line up | jq -r 'if .state == "stopped" then "stopped" else "exited" end')" "$(podman_size up)"
  podman_up "$row, --uidmap" mapped --uidmap 0:100000:65536 --gidmap 0:100000:65536
  podman_up "$row, --userns=auto" auto --userns=auto:size=1000
  podman_rootfs plain "$(rootfs plain)"
  TOOL=podman expect "$row, --rootfs (no overlay)" plain running - 4
  podman_rootfs over "$(rootfs over):O"
  TOOL=podman expect "$row, --rootfs DIR:O" over running "$(line over | jq -r .size_rw)" # podman measures DIR
  fresh
  podman_cmd() {
    podman --root "$node/var/lib/containers/storage" --runroot "$node/run/containers/storage" --tmpdir "$node/run/libpod" --storage-driver vfs "$@"
  }
  load_podman
  podman_cmd create --name whole --network none localhost/overlaydiff/test:1 /bin/sh >/dev/null
  TOOL=podman expect "$row, vfs (no overlay)" whole '' - 4
fi
row="containerd $(containerd --version | sed -E 's/^[^ ]* [^ ]* v?([0-9.]+).*/\1/')"
if wants "$row"; then
  fresh
  start_containerd
  containerd_rows "$row, overlayfs"
  load_native() { containerd_cmd images import --snapshotter native "$work/oci.tar" >/dev/null; }
  load_native
  OPTS=(-d --snapshotter native)
  run_containerd whole /bin/sh -c "$stay"
  TOOL=containerd expect "$row, native (no overlay)" whole running - 4
  fresh
  containerd_config '[plugins."io.containerd.snapshotter.v1.overlayfs"]
root_path = "NODE/fast/overlay"'
  containerd_rows "$row, root_path"
fi
if wants 'containerd 2'; then
  fresh
  build_containerd2
  (export PATH="$containerd2:$PATH" && containerd_config '' "$containerd2/containerd" && containerd_rows "containerd $("$containerd2/containerd" --version | cut -d' ' -f3), overlayfs")
fi
if wants 'Docker 29' && [ -x "${DOCKERD29:-}" ]; then
  for store in true false; do
    fresh
    driver=overlayfs
    [ "$store" = true ] || driver=overlay2
    PATH="${CONTAINERD2:+$CONTAINERD2:}$PATH" daemon "$work/docker.log" "$node/run/docker.sock" "$DOCKERD29" --data-root "$node/var/lib/docker" --exec-root "$node/run/docker" \
      --pidfile "$node/run/docker.pid" --host "unix://$node/run/docker.sock" --iptables=false --ip6tables=false --bridge=none --feature containerd-snapshotter=$store --storage-driver $driver
    for _ in $(seq 100); do docker_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
    docker_rows "Docker 29, $driver$([ $store = true ] && echo ' (containerd image store)')"
  done
elif wants 'Docker 29'; then
  report 'Docker 29' 'not run: DOCKERD29 names no dockerd'
fi
if [ ${#wanted[@]} = 0 ]; then
  for what in nerdctl crictl CRI-O buildkitd; do report "$what" 'not run: this script does not start it'; done
fi
[ -z "$failed" ]
