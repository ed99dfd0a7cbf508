#!/usr/bin/env bash
# Containers with user namespaces, of the runtimes as Debian has them: Podman with
# --uidmap and --userns=auto, whose lower layers are id-mapped; Docker with
# userns-remap; containerd with ctr run --uidmap; and a containerd 2, with and without
# id-mapped lower layers, and with overlaydiff-differ. What changes lists is what the
# container changed; the exported layer has the owners that the container sees, and
# a new container, made of the image with that layer, sees them, too. Root; installs
# what is missing. Docker's daemon adds the user dockremap. Two minutes, and two more to build
# a containerd 2, unless CONTAINERD2=DIR has it.
#
#   integration/owners.sh [containerd|containerd2|docker|podman|fuse|rootless]...    all, unless some are named
#
# fuse is Podman with fuse-overlayfs as its mount program; rootless is Podman of an ordinary
# user, who is added and removed again, also with --userns=keep-id and --uidmap.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
runtimes=("$@")
[ $# -gt 0 ] || runtimes=(containerd containerd2 docker podman fuse rootless)
packages=$(packages_of $(printf '%s\n' "${runtimes[@]}" | sed 's/fuse\|rootless/podman/; s/containerd2/containerd/'))
install $packages fuse-overlayfs uidmap

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

# Podman 4.3 itself gives the files of user 1 in an image to root, if the container has other ids
# and the user is an ordinary one; so none here has that number.
#
# What is done in the container: one name is opened and stays as it is, one has another
# mode for a moment, so that both are copied up.
changes='echo new >>/etc/changed; rm /gone; : >>/etc/same; : >>/var/www/page; chmod 600 /dir/sub/above; chmod 644 /dir/sub/above; echo n >/var/www/new; chown 33:34 /var/www/new; chmod 4750 /var/www/new; echo d >/dir/new; chown 40:41 /var/www/other'
want=$'A /dir/new\nC /etc/changed\nD /gone\nA /var/www/new\nC /var/www/other'
# What runtimes put into the root by themselves.
theirs='^[AC] "?/(dev|proc|sys|run|\.dockerenv)|^[ACD] /etc/(mtab|hosts|hostname|resolv.conf|passwd|group)$' # the last two for --userns=keep-id
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

known= # what the runtime itself loses of an image, as a sed script
# check WHAT NAME EXEC RERUN: the container NAME, in which EXEC runs a command; RERUN runs one
# in a new container of the image with the exported layer.
check() {
  local what=$1 container=$2 exec=$3 rerun=$4 sees
  sees=$($exec /bin/sh -c "$owners")
  equal "$what: changes" "$want" "$(od changes --root "$node" "$container" | grep -vE "$theirs")"
  case $what in
    *fuse*) # the naive engine mounts the layers itself, which the kernel would show otherwise
      od changes --engine naive --root "$node" "$container" >/dev/null 2>"$work/refused" && equal "$what: refused" refused compared
      grep -q fuse-overlayfs "$work/refused" || equal "$what: refused" fuse-overlayfs "$(cat "$work/refused")"
      ;;
    *) equal "$what: changes, compared" "$want" "$(od changes --engine naive --root "$node" "$container" 2>/dev/null | grep -vE "$theirs")" ;;
  esac
  od export --root "$node" -o "$work/layer.tar" "$container" >/dev/null
  equal "$what: owners in the layer" $'0/0 dir/new\n33/34 var/www/new\n40/41 var/www/other' \
    "$(tar --numeric-owner -tvf "$work/layer.tar" | awk '$6 ~ /^(var\/www\/(new|other)|dir\/new)$/ { print $2, $6 }' | LC_ALL=C sort -k2)"
  if [ "$rerun" ]; then
    image "$work/layer.tar"
    equal "$what: owners in a new container" "$(sed "$known" <<<"$sees")" "$($rerun /bin/sh -c "$owners")"
  fi
  echo "$what: checked"
}

keep="$changes; sleep 300"
list() { tar --numeric-owner -tvf "$1" | awk '$6 ~ /^(var|dir|etc\/changed)/ { print $1, $2, $6 }' | sort; }
kept() { list "$1" | grep -vE '/$|var/www/page$|dir/sub/above$'; } # which other tools carry for their copy-up
# equal_commit WHAT CLIENT CONTAINER IMAGE: the layer that the runtime makes of it has the same owners.
equal_commit() {
  local last
  "$2" commit "$3" "$4" >/dev/null 2>&1
  rm -rf "$work/commit"
  mkdir "$work/commit"
  if [ "$2" = docker_cmd ]; then docker_cmd save "$4"; else "$2" save -q --format docker-archive "$4"; fi | tar -C "$work/commit" -xf -
  last=$(sed -E 's/.*"([^"]*)"\]\}\].*/\1/' "$work/commit/manifest.json")
  equal "$1" "$(kept "$work/commit/$last")" "$(kept "$work/layer.tar")"
}
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
    # Root's podman commit (4.3) writes the host's owners, from which a new container with the same
    # ids has others than the old one.
    od export --root "$node" --owners host -o "$work/layer.tar" $t >/dev/null
    equal_commit "podman commit $opts, the host's owners" podman_cmd $t localhost/commit$n:1
    podman_cmd kill $t >/dev/null
    check "podman $opts, stopped" $t "true" ""
  done
}
# Podman with fuse-overlayfs, which keeps the container's owners.
owners_fuse() {
  local opts t n=0
  chmod 711 "$work" # for the container's root
  PODMAN=(--storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs)
  load_podman
  # Not with ids of its own: containers/storage of Podman 4.3 maps the lower layers twice, by
  # id-mapped mounts and by fuse-overlayfs, so that the image's files are nobody's. What later ones
  # do integration/storage tests.
  for opts in ""; do
    OPTS=(-d $opts)
    t=f$((n += 1))x
    run_podman $t /bin/sh -c "$keep" >/dev/null
    sleep 1
    again() {
      podman_cmd load -q -i "$work/top.tar" >/dev/null
      podman_cmd run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none $opts localhost/overlaydiff/top:1 "$@"
    }
    check "podman with fuse-overlayfs $opts" $t "podman_cmd exec $t" again
    podman_cmd kill $t >/dev/null
  done
}

# rootless_ends USER: ends the user's processes, one of which keeps the user namespace, and removes
# the user.
rootless_ends() {
  local pid
  for pid in $(ps -o pid= -u "$1"); do kill -KILL "$pid" 2>/dev/null || true; done
  sleep 1
  userdel "$1"
}
# Podman of an ordinary user.
owners_rootless() {
  local user=od$$ uid opts t n=0
  chmod 711 "$work"
  useradd -M -d "$node/home/u" -s /bin/sh "$user"
  trap 'finish; rootless_ends '"$user" EXIT
  usermod --add-subuids 700000-765535 --add-subgids 700000-765535 "$user"
  uid=$(id -u "$user")
  mkdir -p "$node/home/u" "$node/run/user/$uid" "$node/etc"
  chown "$user:" "$node/home/u" "$node/run/user/$uid"
  echo "$user:x:$uid:$(id -g "$user")::/home/u:/bin/sh" >"$node/etc/passwd"
  grep "^$user:" /etc/subuid >"$node/etc/subuid"
  grep "^$user:" /etc/subgid >"$node/etc/subgid"
  podman_user() (
    cd /
    setpriv --reuid "$uid" --regid "$(id -g "$user")" --clear-groups env -i PATH="$PATH" HOME="$node/home/u" XDG_RUNTIME_DIR="$node/run/user/$uid" \
      podman --cgroup-manager cgroupfs --events-backend file --storage-driver overlay --runtime runc "$@"
  )
  podman_user load -q -i "$work/oci.tar" >/dev/null
  for opts in "" "--userns=keep-id --user 0:0" "--uidmap 0:1:5000 --gidmap 0:1:5000"; do
    t=r$((n += 1))x
    podman_user run -d --name $t --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none $opts localhost/overlaydiff/test:1 /bin/sh -c "$keep" >/dev/null
    sleep 1
    again() {
      podman_user load -q -i "$work/top.tar" >/dev/null
      podman_user run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver none $opts localhost/overlaydiff/top:1 "$@"
    }
    check "rootless podman $opts" $t "podman_user exec --user 0:0 $t" again
    equal_commit "rootless podman commit" podman_user $t localhost/commit$n:1
    podman_user kill $t >/dev/null
    podman_user wait $t >/dev/null
    sleep 1
    check "rootless podman $opts, stopped" $t "true" ""
  done
}
owners_docker() {
  mkdir -p "$node/run" "$node/etc" "$node/var/lib"
  chmod 711 "$node/var" "$node/var/lib"
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
  equal_commit "docker commit" docker_cmd t1 overlaydiff/commit:1
  docker_cmd kill t1 >/dev/null
  check "docker userns-remap, stopped" t1 "true" ""
}
# owners_ctr WHAT OPTS...: a container of ctr run OPTS.
owners_ctr() {
  local what=$1 opts=("${@:2}")
  OPTS=(-d "${opts[@]}")
  run_containerd t /bin/sh -c "$keep"
  sleep 1
  again() {
    containerd_cmd images import "$work/top.tar" >/dev/null
    containerd_cmd run --rm --runc-root "$node/run/runc" "${opts[@]}" localhost/overlaydiff/top:1 again "$@"
  }
  check "$what" t "containerd_cmd task exec --exec-id x t" again
}
# ended_ctr WHAT: the task of the same container ends.
ended_ctr() {
  containerd_cmd task kill --signal KILL t
  for _ in $(seq 50); do containerd_cmd task ls | grep -q '^t .*STOPPED' && break; sleep 0.1; done
  containerd_cmd task rm t >/dev/null 2>&1 || true
  check "$1, stopped" t "true" ""
}
owners_containerd() {
  start_containerd
  load_containerd
  chmod 711 "$work"
  known='s/ 4750$/ 750/' # containerd 1.6 copies layers with chown, which takes the set-user-id bit
  owners_ctr "ctr run --uidmap" --uidmap 0:100000:65536 --gidmap 0:100000:65536
  known=
  ended_ctr "ctr run --uidmap"
}
owners_containerd2() {
  local what opts config=$node/run/containerd.toml
  build_containerd2
  build_plugin
  start_plugin "$node/run/containerd.sock"
  sed "s|/run/overlaydiff/differ.sock|$plugin|" contrib/containerd/config-2.toml >"$config"
  printf "[plugins.'io.containerd.internal.v1.opt']\n  path = '%s'\n" "$node/opt" >>"$config"
  PATH=$containerd2:$PATH daemon "$work/containerd2.log" "$node/run/containerd.sock" "$containerd2/containerd" --config "$config" \
    --root "$node/var/lib/containerd" --state "$node/run/containerd" --address "$node/run/containerd.sock"
  ctr=$containerd2/ctr
  load_containerd
  chmod 711 "$work"
  # Without labels the layers are copied with the host's owners; with them, the lower ones are id-mapped.
  for opts in "--uidmap 0:100000:65536 --gidmap 0:100000:65536" \
    "--remap-labels --uidmap 0:100000:65536 --gidmap 0:100000:65536" \
    "--remap-labels --uidmap 0:200000:40 --uidmap 40:400000:1000 --gidmap 0:300000:65536"; do
    what="containerd 2, ctr run $opts"
    owners_ctr "$what" $opts
    case $opts in
      *remap-labels*)
        containerd_cmd snapshots mounts /nowhere t | grep -q uidmap= || equal "$what: mounts" uidmap= "$(containerd_cmd snapshots mounts /nowhere t)"
        containerd_cmd snapshots diff --media-type application/vnd.oci.image.layer.v1.tar t >"$work/plugin.tar"
        equal "$what: layer of the plugin" "$(sha256sum <"$work/layer.tar")" "$(sha256sum <"$work/plugin.tar")"
        ;;
    esac
    ended_ctr "$what"
    containerd_cmd container rm t
  done
}
for runtime in "${runtimes[@]}"; do
  fresh
  "owners_$runtime"
done
[ -z "$failed" ]
