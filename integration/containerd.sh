#!/usr/bin/env bash
# Has containerd use overlaydiff-differ: a containerd 2, built from its Go module,
# for layers, and Debian's for sizes. Both have the configuration of
# contrib/containerd. Root; installs what is missing; the first build takes minutes.
#
#   integration/containerd.sh [differ|snapshotter]...    both, unless some are named
#
# differ: layers through the plugin and by containerd's own differ are the same tree,
# with the right DiffID; an image is committed and runs; how much faster it is, on an
# image of ENTRIES entries (51000); and what happens when the plugin is killed.
# snapshotter: containers run on it, and "ctr snapshots usage" has its numbers.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
parts=("$@")
[ $# -gt 0 ] || parts=(differ snapshotter)
packages=$(packages_of containerd)
install $packages

entries=${ENTRIES:-51000}
image=localhost/overlaydiff/test:1
failed=
wrong() { echo "WRONG: $*"; failed=1; }

edit_base() {
  local i j
  mkdir -p bin etc tmp dev proc sys run
  chmod 1777 tmp
  cp "$(command -v busybox)" bin/busybox
  for tool in sh cat stat sleep; do ln -s busybox "bin/$tool"; done
  echo 'root:x:0:0::/:/bin/sh' >etc/passwd
  for i in $(seq 0 $((entries / 11 - 1))); do echo "data/$((i % 40))/$i"; done | xargs mkdir -p
  for i in $(seq 0 $((entries / 11 - 1))); do
    for j in 0 1 2 3 4 5 6 7 8 9; do echo "$i $j, of a file with some content" >"data/$((i % 40))/$i/$j"; done
  done
  # Whole seconds, as in images that come out of a registry: containerd's differ
  # then reads the files.
  find . -exec touch -h -d @1700000000 {} +
}
edit_change() { # the image's second layer
  echo changed >data/1/1/0
  rm -r data/2/2
  touch -d @1700000001 data/1/1/0
}
edit_small() { # what a container does
  local i
  for i in 0 1 2 3 4; do
    echo more >>data/3/3/$i
    echo new >data/3/3/new$i
  done
  rm data/4/4/0 data/4/4/1
  chmod 4750 data/4/4/2
  ln -s ../3 data/4/4/link
  ln data/4/4/3 data/4/4/again
  rm -r data/4/44
  mkdir data/4/44
  echo shown >data/4/44/shown
  find data/3/3 data/4/4 data/4/44 -newermt @1700000000 -exec touch -h -d @1700000002 {} +
}
edit_slow() { # takes long to compress and to compare
  head -c $((150 << 20)) /dev/urandom >big
  touch -d @1700000003 big
}

build() {
  build_containerd2
  build_plugin
  CGO_ENABLED=0 GOWORK=off go -C integration/containerd build -trimpath -o "$work/commit" ./commit
}

# end PID: ends a daemon and waits for it.
end() {
  kill "$1"
  wait "$1" || wrong "process $1 ended with status $?"
}
worker() { pgrep -P "$server"; }

# start_two plugin|walking: starts containerd 2 with that differ first.
start_two() {
  local config=$node/run/$1.toml
  printf 'version = 3\n' >"$config"
  [ "$1" != plugin ] || sed "s|/run/overlaydiff/differ.sock|$plugin|" contrib/containerd/config-2.toml >"$config"
  printf "[plugins.'io.containerd.internal.v1.opt']\n  path = '%s'\n" "$node/opt" >>"$config"
  rm -f "$node/run/two.sock"
  PATH=$containerd2:$PATH daemon "$work/containerd-$1.log" "$node/run/two.sock" "$containerd2/containerd" --config "$config" \
    --root "$node/var/lib/two" --state "$node/run/two" --address "$node/run/two.sock"
  containerd=$!
  for _ in $(seq 100); do two version >/dev/null 2>&1 && break; sleep 0.1; done
}
two() { CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$containerd2/ctr" -a "$node/run/two.sock" "$@"; }

# snapshot KEY PARENT: prepares a snapshot and runs edit_KEY in it.
snapshot() {
  two snapshots prepare "$1" "$2"
  mounted "$1" "$work/$1.edit"
  (cd "$work/$1.edit" && "edit_$1")
  umount "$work/$1.edit"
}
# mounted KEY DIR: mounts a snapshot.
mounted() {
  mkdir -p "$2"
  eval "$(two snapshots mounts "$2" "$1")"
}
# option KEY NAME: a mount option of a snapshot.
option() { two snapshots mounts /nowhere "$1" | sed -E "s/.*[ ,]$2=([^, ]*).*/\1/"; }
# chain: the name of the image's topmost snapshot.
chain() { printf 'sha256:%s' "$(printf 'sha256:%s sha256:%s' "$(sum <"$work/base.tar")" "$(sum <"$work/change.tar")" | sum)"; }
sum() { sha256sum | cut -d' ' -f1; }

# layer NAME KEY: writes the layer of a snapshot as $work/NAME.tar.gz, and checks its label.
layer() {
  local diff_id
  two snapshots diff --keep "$2" >"$work/$1.tar.gz" || return
  diff_id=$(gunzip -c "$work/$1.tar.gz" | sum)
  two content ls | grep "^sha256:$(sum <"$work/$1.tar.gz")" | grep -q "containerd.io/uncompressed=sha256:$diff_id" ||
    wrong "$1: the layer has no label with its DiffID sha256:$diff_id"
}
# unpacked NAME LOWER: mounts the layers below with the layer NAME applied at $work/NAME.
unpacked() {
  local dir=$work/$1
  mkdir -p "$dir".{upper,work} "$dir"
  mount -t overlay overlaydiff -o "lowerdir=$2,upperdir=$dir.upper,workdir=$dir.work" "$dir"
  "$work/overlaydiff" apply --to "$dir" "$dir.tar.gz" >/dev/null
}
# same A B: compares two trees below $work.
same() {
  local found
  found=$("$work/overlaydiff" changes --old "$work/$1" --new "$work/$2")
  if [ -z "$found" ]; then echo "$1 and $2: the same tree"; else wrong "$1 and $2 differ:"; head -n 20 <<<"$found"; fi
}
# timed NAME: the seconds of the fastest of five comparisons, as $work/NAME.seconds.
timed() {
  local i TIMEFORMAT=%3R
  for i in 1 2 3 4 5; do { time two snapshots diff small >/dev/null; } 2>&1; done | sort -n >"$work/$1.all"
  head -n 1 "$work/$1.all" >"$work/$1.seconds"
  echo "ctr snapshots diff, $1: $(paste -sd' ' "$work/$1.all") s"
}
said() { grep -q "$1" "$work/differ.log" || wrong "the plugin's log has no '$1'"; }

# slow_diff: begins to compare the slow snapshot, and returns when its upload has begun.
slow_diff() {
  two snapshots diff --keep --ref slow slow >"$work/slow.tar.gz" 2>"$work/slow.error" &
  client=$!
  for _ in $(seq 300); do
    two content active | grep -q '^slow' && return
    sleep 0.05
  done
  wrong "no upload began"
}
# taken_over WHAT: the comparison must have been done by containerd's own differ.
taken_over() {
  if wait "$client" && [ "$(gunzip -c "$work/slow.tar.gz" | tar -xOf - big | sum)" = "$(sum <"$(option slow upperdir)/big")" ]; then
    echo "$1: containerd's own differ took over, the layer is right"
  else
    wrong "$1: $(cat "$work/slow.error")"
  fi
  no_uploads "$1"
  two content rm "sha256:$(sum <"$work/slow.tar.gz")" >/dev/null
}
no_uploads() { [ -z "$(two content active | tail -n +2)" ] || wrong "$1: an upload is left: $(two content active)"; }

# restarted: the plugin, killed, is started again, as systemd does it.
restarted() {
  rm "$plugin"
  start_plugin "$node/run/two.sock"
  layer again small
  cmp "$work/again.tar.gz" "$work/plugin.tar.gz" || wrong "$1: started again it makes another layer"
}
# refused WHAT: the comparison must have failed.
refused() {
  ! wait "$client" || wrong "$1: the comparison succeeded"
  echo "$1: ctr says: $(tail -n 1 "$work/slow.error")"
  wait "$server" || true
}

killed() {
  local before working
  slow_diff
  kill -KILL "$(worker)"
  taken_over "kill -9 of the process that works"
  said 'the worker ended while it compared (signal: killed)'

  slow_diff
  end "$server"
  taken_over "SIGTERM"
  [ ! -e "$plugin" ] || wrong "the plugin left its socket"
  start_plugin "$node/run/two.sock"

  before=$(two content ls -q | sort)
  slow_diff
  working=$(worker)
  kill -KILL "$server"
  refused "kill -9 of the process that serves"
  for _ in $(seq 100); do [ -e "/proc/$working" ] || break; sleep 0.1; done
  [ ! -e "/proc/$working" ] || wrong "the worker of a killed plugin is left"
  no_uploads "kill -9 of the process that serves"
  restarted

  slow_diff
  kill -KILL "$server" "$(worker)"
  refused "kill -9 of both"
  [ "$(two content ls -q | sort)" = "$before" ] || wrong "a killed plugin left content"
  restarted
}

differ() {
  local lower
  build
  make_image
  start_plugin "$node/run/two.sock"
  start_two plugin
  two images import --local "$work/oci.tar" >/dev/null # unpacked by the plugin
  said 'diff.v1.Diff/Apply.*code=OK'
  snapshot small "$(chain)" >/dev/null
  snapshot slow "$(chain)" >/dev/null
  lower=$(option small lowerdir)
  layer plugin small
  said 'engine=native'
  echo "the image has $(find $(tr : ' ' <<<"$lower") | wc -l) entries, the upper directory $(find "$(option small upperdir)" -mindepth 1 | wc -l)"
  timed plugin
  commit
  killed

  end "$containerd"
  start_two walking
  layer walking small
  timed walking
  awk '{ s[NR] = $1 } END { printf "the fastest of each: %.0f times as fast\n", s[2] / s[1] }' "$work/plugin.seconds" "$work/walking.seconds"
  unpacked plugin "$lower"
  unpacked walking "$lower"
  mounted small "$work/small"
  same small plugin
  same small walking
  same plugin walking
  end "$containerd"
  end "$server"
}

# commit: an image of the snapshot, and of the same one when it is committed.
commit() {
  local got want
  read -r got want <<<"$("$work/commit" "$node/run/two.sock" "$image" small localhost/overlaydiff/commit:1)"
  [ "$got $want" = "sha256:$(sum <"$work/plugin.tar.gz") sha256:$(gunzip -c "$work/plugin.tar.gz" | sum)" ] || wrong "commit: the layer is $got $want"
  want=$'changed\nshown\n4750\n2'
  got=$(PATH=$containerd2:$PATH two run --rm --runc-root "$node/run/runc2" localhost/overlaydiff/commit:1 committed /bin/sh -c \
    'cat /data/1/1/0 /data/4/44/shown; stat -c %a /data/4/4/2; stat -c %h /data/4/4/3; cat /data/4/4/0 2>/dev/null; exit 0') || got="it failed: $got"
  if [ "$got" = "$want" ]; then echo "the committed image runs"; else wrong "the committed image prints $got"; fi
  two snapshots prepare copy "$(chain)" >/dev/null
  cp -a "$(option small upperdir)/." "$(option copy upperdir)"
  two snapshots commit whole copy
  layer whole whole
  if cmp "$work/whole.tar.gz" "$work/plugin.tar.gz"; then echo "the layer of the committed snapshot is the same"; else wrong "the layer of the committed snapshot is another"; fi
}

snapshotter() {
  local config=$node/run/one.toml
  [ -e "$work/oci.tar" ] || make_image
  [ -x "$work/overlaydiff-differ" ] || build
  start_plugin "$node/run/containerd.sock"
  {
    printf 'root = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' "$node/var/lib/containerd" "$node/run/containerd"
    sed "s|/run/overlaydiff/differ.sock|$plugin|" contrib/containerd/config-1.toml
    printf '[grpc]\naddress = "%s"\n[plugins."io.containerd.internal.v1.opt"]\npath = "%s"\n' "$node/run/containerd.sock" "$node/opt"
  } >"$config"
  daemon "$work/containerd.log" "$node/run/containerd.sock" containerd --config "$config"
  containerd=$!
  for _ in $(seq 100); do containerd_cmd version >/dev/null 2>&1 && break; sleep 0.1; done
  containerd --version
  containerd_cmd images import --snapshotter overlaydiff "$work/oci.tar" >/dev/null
  OPTS=(--snapshotter overlaydiff)
  run_containerd made /bin/sh -c 'cat /data/1/1/0 >/new; echo more >>/data/3/3/3; echo x >/tmp/x'
  theirs | tee "$work/theirs"
  ours >"$work/ours"
  if diff <(awk '{ print $2, $3 }' "$work/theirs" | sort) <(sort "$work/ours"); then echo "overlaydiff says the same"; else wrong "overlaydiff says something else"; fi
  end "$containerd"
  end "$server"
}
snapshots() { containerd_cmd snapshots --snapshotter overlaydiff "$@"; }
# theirs: key, bytes and inodes of each snapshot, as containerd has them.
theirs() {
  local key
  for key in $(snapshots ls | awk 'NR > 1 { print $1 }'); do snapshots usage -b "$key" | tail -n 1; done
}
# ours: bytes and inodes of the layers of the container "made".
ours() {
  local dir
  for dir in $(snapshots mounts /nowhere made | sed -E 's/.*upperdir=([^, ]*).*lowerdir=([^, ]*).*/\1:\2/' | tr : ' '); do
    "$work/overlaydiff" usage --json --lower "$work" --upper "$dir" >"$work/usage.json"
    echo "$(field "$work/usage.json" disk_bytes) $(field "$work/usage.json" inodes)"
  done
}

for part in "${parts[@]}"; do
  case $part in
    differ | snapshotter) "$part" ;;
    *) echo "$name: unknown part '$part': differ or snapshotter" >&2; exit 2 ;;
  esac
done
[ -z "$failed" ]
