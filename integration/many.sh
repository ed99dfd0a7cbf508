#!/usr/bin/env bash
# Measures ps beside docker ps -s on one node: 500 containers of Docker's with
# 1,000,000 files in their writable layers, and the memory that ps takes. Root;
# installs what is missing; takes some minutes and 5 GiB below /var/tmp.
#
#   integration/many.sh [CONTAINERS [FILES]]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
containers=${1:-500} files=${2:-1000000}
packages=$(packages_of docker)
install $packages time

edit_base() {
  mkdir -p bin etc tmp data
  cp "$(command -v busybox)" bin/busybox
  for i in $(seq 50); do echo "$i" >"data/$i"; done
}
edit_change() { echo changed >data/1; }

# The layer that all containers get a copy of: directories of 40 files, three deep.
mkdir "$work/template"
n=$((files / containers))
for i in $(seq 0 39 $((n - 1))); do
  dir=$work/template/srv/$((i / 400))/$i
  mkdir -p "$dir"
  for j in $(seq "$i" $((i + 38 < n - 1 ? i + 38 : n - 1))); do echo "$j" >"$dir/$j"; done
done

make_image
start_docker
load_docker
for i in $(seq "$containers"); do echo "c$i"; done |
  xargs -P 2 -I{} docker -H "unix://$node/run/docker.sock" create --name {} --network none overlaydiff/test:1 /bin/sh >/dev/null
docker_cmd inspect --format '{{.GraphDriver.Data.UpperDir}}' $(docker_cmd ps -aq) |
  xargs -P 2 -I{} cp -a "$work/template/." {}
sync

once() { # WHAT CMD...: prints how long it takes, and its memory
  local what=$1
  shift
  command time -f "%e %M" -o "$work/time" "$@" >/dev/null 2>&1
  read -r seconds kib <"$work/time"
  printf '%-36s %7.2f s  %6.1f MiB\n' "$what" "$seconds" "$(echo "$kib" | awk '{ print $1 / 1024 }')"
}
echo "$containers containers with $n files each"
for _ in 1 2 3; do # the first warms the caches
  once 'docker ps -s' docker -H "unix://$node/run/docker.sock" ps -a -s
  once 'overlaydiff ps' "$work/overlaydiff" ps --root "$node" --json
done
