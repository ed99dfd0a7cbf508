#!/usr/bin/env bash
# Makes an image of two exported layers and runs a program in it with Docker,
# Podman and containerd, as Debian has them: docker load of a docker-archive,
# podman load and ctr images import of an OCI archive. Root; installs what is
# missing.
#
#   integration/images.sh [docker|podman|containerd]...    all, unless some are named
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
runtimes=("$@")
[ $# -gt 0 ] || runtimes=(docker podman containerd)
packages=$(packages_of "${runtimes[@]}")
install $packages

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
make_image

# What the program in the container prints, whatever runs it.
program='cat /dir/changed /dir/sub/shown; [ ! -e /gone ] && [ ! -e /dir/sub/hidden ] && echo deleted; stat -c "%a %u:%g %Y %h" /dir/dated; [ "$(stat -c %i /bin/busybox)" = "$(stat -c %i /bin/stat)" ] && echo linked; echo $((1 + 1))'
want=$'new\nhere\ndeleted\n4750 12:34 981173106 1\nlinked\n2'

failed=
for runtime in "${runtimes[@]}"; do
  "start_$runtime"
  "load_$runtime"
  got=$("run_$runtime" test /bin/sh -c "$program") || got="it failed: $got"
  if [ "$got" = "$want" ]; then
    echo "$runtime: the image of two exported layers runs"
  else
    printf '%s: wrong; want\n%s\ngot\n%s\n' "$runtime" "$want" "$got"
    failed=1
  fi
done
[ -z "$failed" ]
