#!/usr/bin/env bash
# Containers with user namespaces, of the runtimes as Debian has them: Podman with
# --uidmap and --userns=auto, whose lower layers are id-mapped; Docker with
# userns-remap; containerd with ctr run --uidmap. What changes lists is what the
# container changed; the exported layer has the owners that the container sees, and
# a new container, made of the image with that layer, sees them, too. Root; installs
# what is missing. Docker's daemon adds the user dockremap.
#
#   integration/owners.sh [docker|podman|containerd]...    all, unless some are named
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
runtimes=("$@")
[ $# -gt 0 ] || runtimes=(docker podman containerd)
packages=$(packages_of "${runtimes[@]}")
install $packages

edit_base() {
  mkdir -p bin etc dir/sub tmp var/www dev proc sys run
  chmod 1777 tmp
  cp "$(command -v busybox)" bin/busybox
  for applet in sh cat chown chmod rm stat sleep touch find sort; do ln -s busybox "bin/$applet"; done
  printf 'root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n' >etc/passwd
  echo old >etc/changed
  echo same >etc/same
  echo gone >gone
  echo page >var/www/page
  echo page >var/www/other
  chown -R 33:33 var/www
}
edit_change() { echo above >dir/sub/above; }
make_image

# What is done in the container: one name is opened and stays as it is, one has another
# mode for a moment, so that both are copied up.
changes='echo new >>/etc/changed; rm /gone; : >>/etc/same; : >>/var/www/page; chmod 600 /dir/sub/above; chmod 644 /dir/sub/above; echo n >/var/www/new; chown 33:34 /var/www/new; chmod 4750 /var/www/new; echo d >/dir/new; chown 1:2 /var/www/other'
want=$'A /dir/new\nC /etc/changed\nD /gone\nA /var/www/new\nC /var/www/other'
# What runtimes put into the root by themselves.
theirs='^[AC] "?/(dev|proc|sys|run|\.dockerenv)|^[ACD] /etc/(mtab|hosts|hostname|resolv.conf)$'
owners='for f in /etc/changed /var/www/new /var/www/other /var/www/page /dir/new /dir/sub/above /var/www /dir; do stat -c "%n %u:%g %a" $f; done'

od() { "$work/overlaydiff" "$@"; }
failed=
equal() { # WHAT WANT GOT
  [ "$2" = "$3" ] || { printf '%s: wrong; want\n%s\ngot\n%s\n' "$1" "$2" "$3"; failed=1; }
}

# image LAYER: makes docker-archive and OCI archive of the image with one more layer.
image() {
  rm -rf "$work/archive3"
  mkdir "$work/archive3"
  local diff_ids
  diff_ids="\"$(field "$work/base.json" diff_id)\",\"$(field "$work/change.json" diff_id)\",\"sha256:$(sha256sum "$1" | cut -d' ' -f1)\""
  printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[%s]}}' "$diff_ids" >"$work/archive3/config.json"
  ln "$work/base.tar" "$work/change.tar" "$work/archive3/"
  cp "$1" "$work/archive3/top.tar"
  echo '[{"Config":"config.json","RepoTags":["localhost/overlaydiff/top:1"],"Layers":["base.tar","change.tar","top.tar"]}]' >"$work/archive3/manifest.json"
  tar -C "$work/archive3" -cf "$work/top.tar" .
}

# check WHAT NAME EXEC RERUN: the container NAME, in which EXEC runs a command; RERUN runs one
# in a new container of the image with the exported layer.
check() {
  local what=$1 container=$2 exec=$3 rerun=$4 sees
  sees=$($exec /bin/sh -c "$owners")
  equal "$what: changes" "$want" "$(od changes --root "$node" "$container" | grep -vE "$theirs")"
  equal "$what: changes, compared" "$want" "$(od changes --engine naive --root "$node" "$container" 2>/dev/null | grep -vE "$theirs")"
  od export --root "$node" -o "$work/layer.tar" "$container" >/dev/null
  equal "$what: owners in the layer" $'0/0 dir/new\n33/34 var/www/new\n1/2 var/www/other' \
    "$(tar --numeric-owner -tvf "$work/layer.tar" | awk '$6 ~ /^(var\/www\/(new|other)|dir\/new)$/ { print $2, $6 }' | LC_ALL=C sort -k2)"
  if [ "$rerun" ]; then
    image "$work/layer.tar"
    equal "$what: owners in a new container" "$sees" "$($rerun /bin/sh -c "$owners")"
  fi
  echo "$what: checked"
}

keep="$changes; sleep 300"
owners_podman() {
  local opts t n=0
  start_podman
  load_podman
  for opts in "--uidmap 0:100000:65536 --gidmap 0:100000:65536" "--uidmap 0:200000:2000 --gidmap 0:300000:65536" "--userns=auto:size=1000"; do
    OPTS=(-d $opts)
    t=t$((n += 1))x
    run_podman $t /bin/sh -c "$keep" >/dev/null
    sleep 1
    again() {
      podman_cmd load -q -i "$work/top.tar" >/dev/null
      podman_cmd run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none $opts localhost/overlaydiff/top:1 "$@"
    }
    check "podman $opts" $t "podman_cmd exec $t" again
    podman_cmd kill $t >/dev/null
    check "podman $opts, stopped" $t "true" ""
  done
}
owners_docker() {
  mkdir -p "$node/run" "$node/etc"
  chmod 711 "$work" # for the remapped root
  daemon "$work/docker.log" "$node/run/docker.sock" dockerd --data-root "$node/var/lib/docker" --exec-root "$node/run/docker" --userns-remap default \
    --pidfile "$node/run/docker.pid" --host "unix://$node/run/docker.sock" --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2
  for _ in $(seq 100); do docker_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
  cp /etc/subuid /etc/subgid "$node/etc/"
  load_docker
  OPTS=(-d)
  run_docker t1 /bin/sh -c "$keep" >/dev/null
  sleep 1
  again() {
    docker_cmd load -q -i "$work/top.tar" >/dev/null
    docker_cmd run --rm --network none localhost/overlaydiff/top:1 "$@"
  }
  check "docker userns-remap" t1 "docker_cmd exec t1" again
  # The layer that the daemon makes of it.
  docker_cmd commit t1 overlaydiff/commit:1 >/dev/null
  rm -rf "$work/commit"
  mkdir "$work/commit"
  docker_cmd save overlaydiff/commit:1 | tar -C "$work/commit" -xf -
  last=$(sed -E 's/.*"([^"]*)"\]\}\].*/\1/' "$work/commit/manifest.json")
  list() { tar --numeric-owner -tvf "$1" | awk '$6 ~ /^(var|dir|etc\/changed)/ { print $1, $2, $6 }' | sort; }
  kept() { list "$1" | grep -vE '/$|var/www/page$|dir/sub/above$'; } # which docker carries for their copy-up
  equal "docker commit" "$(kept "$work/commit/$last")" "$(kept "$work/layer.tar")"
  docker_cmd kill t1 >/dev/null
  check "docker userns-remap, stopped" t1 "true" ""
}
owners_containerd() {
  start_containerd
  load_containerd
  OPTS=(-d --uidmap 0:100000:65536 --gidmap 0:100000:65536)
  chmod 711 "$work"
  run_containerd t /bin/sh -c "$keep"
  sleep 1
  check "ctr run --uidmap" t "containerd_cmd task exec --exec-id x t" ""
}
for runtime in "${runtimes[@]}"; do
  "owners_$runtime"
done
[ -z "$failed" ]
