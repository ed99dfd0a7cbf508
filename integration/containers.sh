#!/usr/bin/env bash
# Compares what overlaydiff says of the containers of Docker, Podman and
# containerd, as Debian has them, with what those say themselves: 20 containers
# each, which random programs have changed. Root; installs what is missing.
#
#   integration/containers.sh [docker|podman|containerd]...    all, unless some are named
#
# SEED=N repeats a run. Then: the answers stay when the daemon is stopped; while
# containers come and go, ps does not fail; Prometheus reads what serve serves.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/runtimes.sh"
runtimes=("$@")
[ $# -gt 0 ] || runtimes=(docker podman containerd)
packages=$(packages_of "${runtimes[@]}")
install $packages jq prometheus
seed=${SEED:-$(date +%s)}
each=${EACH:-20}
echo "seed $seed"

# Where root may not look into all processes, as in a container, ps says so each time.
od() {
  local command=$1
  shift
  "$work/overlaydiff" "$command" --root "$node" "$@" 2> >(grep -v 'run as root of the node' >&2)
}

edit_base() {
  mkdir -p bin etc tmp dev proc sys run
  chmod 1777 tmp
  cp "$(command -v busybox)" bin/busybox
  for tool in sh cat dd rm mkdir chmod chown mv ln touch sleep cp mkfifo truncate; do ln -s busybox "bin/$tool"; done
  echo 'root:x:0:0::/:/bin/sh' >etc/passwd
  for i in $(seq 0 39); do
    mkdir -p "data/$i/deep"
    head -c $((i * 997)) /dev/urandom >"data/$i/file"
    echo "$i" >"data/$i/deep/file"
  done
}
edit_change() {
  rm -r data/39
  chmod 600 data/38/file
  echo more >>data/37/file
}

# What a container does: the argument is its seed, which busybox's sh does not
# take for its own RANDOM.
program='
n=$1
rnd() { n=$(((n * 1103515245 + 12345) % 2147483648)); r=$((n / 65536 % $1)); }
i=0
while [ $i -lt 40 ]; do
  i=$((i + 1)); rnd 38; at=/data/$r; rnd 15
  case $r in
    0) rnd 90000; dd if=/dev/urandom of=/new$i bs=$((r + 1)) count=1 2>/dev/null ;;
    1) mkdir -p /made$i/deep; echo $i >/made$i/deep/file ;;
    2) rm -rf $at ;;
    3) chmod 4711 $at/file ;;
    4) chown 12:34 $at/file ;;
    5) echo more >>$at/file ;;
    6) rm -rf $at; mkdir $at; echo again >$at/again ;;
    7) mv $at/file $at/moved$i ;;
    8) ln $at/file $at/link$i ;;
    9) ln -s $at/file /symlink$i ;;
    10) touch $at/deep/file ;;
    11) mkfifo /fifo$i ;;
    12) truncate -s 1000000 /sparse$i ;;
    13) chmod 700 $at ;;
    14) rm -f $at/file; mkdir $at/file ;;
  esac 2>/dev/null
done
[ "$2" = stay ] && exec sleep 10000
exit 0'

failed=
wrong() { echo "WRONG: $*"; failed=1; }

# Every fourth container goes on running. Their names have no hexadecimal digit
# first: podman diff takes one for the beginning of an image's id.
make_containers() {
  local runtime=$1 i stay
  for i in $(seq "$each"); do
    OPTS=() stay=end
    [ $((i % 4)) != 0 ] || OPTS=(-d) stay=stay
    "run_$runtime" "t$i" /bin/sh -c "$program" sh $((seed + i)) "$stay" >/dev/null
  done
  sleep 2 # those that stay have changed what they change
}

# ours RUNTIME TOOL: name, size and size of all of each container.
ours() { od ps --json --compat "$2" | jq -r --arg r "$1" 'select(.runtime == $r) | [.name, .size_rw, .size_root_fs, .usage.inodes, .error] | @tsv' | sort; }

theirs_docker() { docker_cmd ps -aq | xargs docker -H "unix://$node/run/docker.sock" inspect --size | jq -r '.[] | [(.Name | ltrimstr("/")), .SizeRw, .SizeRootFs] | @tsv' | sort; }
theirs_podman() { podman_cmd ps -a -s --format json | jq -r '.[] | [.Names[0], .Size.rwSize, .Size.rootFsSize] | @tsv' | sort; }
theirs_containerd() {
  containerd_cmd snapshots usage -b | while read -r key size inodes; do
    case $key in t[0-9]*) printf '%s\t%s\t%s\n' "$key" "$size" "$inodes" ;; esac
  done | sort
}

compare() { # WHAT OURS THEIRS
  if diff -u --label theirs "$3" --label ours "$2" >"$work/differences"; then
    echo "$1: equal ($(wc -l <"$2") lines)"
  else
    wrong "$1"
    head -n 40 "$work/differences"
  fi
}

sizes() {
  local runtime=$1 columns=1,2,3
  [ "$runtime" != containerd ] || columns=1,2,4 # it has no size of the whole, but counts inodes
  ours "$runtime" "$runtime" | cut -f "$columns" >"$work/ours"
  "theirs_$runtime" >"$work/theirs"
  [ "$(wc -l <"$work/theirs")" = "$each" ] || wrong "$runtime lists $(wc -l <"$work/theirs") containers"
  compare "$runtime: sizes" "$work/ours" "$work/theirs"
}

# What podman diff leaves out (libpod/diff.go): where it mounts things.
hidden='^. /(dev|etc/hostname|etc/hosts|etc/resolv\.conf|proc|run|run/notify|run/\.containerenv|run/secrets|sys|etc|etc/mtab)$'

changes() {
  local runtime=$1 i
  [ "$runtime" != containerd ] || return 0 # it lists none
  for i in $(seq "$each"); do
    "${runtime}_cmd" diff "t$i" | sort | { grep -Ev "$hidden" || true; } >"$work/theirs.one"
    od changes --compat docker "$runtime:t$i" | sort | { grep -Ev "$hidden" || true; } >"$work/ours.one"
    [ "$runtime" != podman ] || known_podman "podman:t$i"
    cat "$work/theirs.one" >>"$work/theirs.$runtime"
    cat "$work/ours.one" >>"$work/ours.$runtime"
  done
  compare "$runtime: changes" "$work/ours.$runtime" "$work/theirs.$runtime"
}

# known_podman CONTAINER: takes out of both lists in what podman diff differs from
# docker diff (containers/storage, pkg/archive/changes.go): it lists a directory
# above a change only if something was added or deleted in it, or its time changed;
# a file that was copied up even if it did not change; and an opaque directory as
# deleted, where docker diff has what was deleted in it.
known_podman() {
  local line
  comm -23 "$work/ours.one" "$work/theirs.one" >"$work/missing"
  comm -13 "$work/ours.one" "$work/theirs.one" >"$work/extra"
  od changes --json --compat docker "$1" | jq -r 'select(.type == "dir" and .kind == "modify") | "C " + .path' | sort >"$work/dirs"
  comm -12 "$work/missing" "$work/dirs" >"$work/known"
  while read -r line; do
    od explain --json "$1" "${line#C }" | jq -e '.change == null and .new.type == "file" and .layers[0].new.has == "file"' >/dev/null &&
      echo "$line" >>"$work/known"
  done < <(grep '^C ' "$work/extra")
  while read -r line; do
    od explain --json "$1" "${line#D }" | jq -e '.layers[0].new.has == "opaque directory"' >/dev/null || continue
    echo "$line" >>"$work/known"
    awk -v dir="${line#D }" '$2 == dir || index($2, dir "/") == 1' "$work/missing" >>"$work/known"
  done < <(grep '^D ' "$work/extra")
  sort -o "$work/known" "$work/known"
  for list in ours theirs; do
    comm -23 "$work/$list.one" "$work/known" >"$work/rest"
    mv "$work/rest" "$work/$list.one"
  done
}

stopped() {
  local runtime=$1
  ours "$runtime" "" >"$work/before"
  end_daemons
  ours "$runtime" "" >"$work/after"
  compare "$runtime: sizes with the daemon stopped" "$work/after" "$work/before"
}

# Containers come and go all the time while ps runs.
churn() {
  local runtime=$1 i n
  (
    while [ ! -e "$work/enough" ]; do
      case $runtime in
        docker | podman) OPTS=(--rm) ;;
        containerd) OPTS=(--rm) ;;
      esac
      "run_$runtime" "churn" /bin/sh -c "$program" sh "$RANDOM" end >/dev/null 2>&1 || true
    done
  ) &
  for i in $(seq 40); do
    n=$(od ps --json | tee "$work/churn.json" | jq -c --arg r "$runtime" 'select(.runtime == $r and .error == null and .name != "churn")' | wc -l) || wrong "$runtime: ps failed while containers came and went"
    [ "$n" = "$each" ] || { wrong "$runtime: ps listed $n of $each containers while others came and went"; jq -c 'select(.error != null)' "$work/churn.json"; }
  done
  touch "$work/enough"
  wait $!
  rm "$work/enough"
  echo "$runtime: ps ran 40 times while containers came and went"
}

scraped() {
  local runtime=$1 port=19842 want got
  "$work/overlaydiff" serve --root "$node" --metrics "127.0.0.1:$port" 2>/dev/null &
  local server=$!
  mkdir -p "$work/prometheus"
  printf 'global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: o\n    static_configs:\n      - targets: ["127.0.0.1:%s"]\n' "$port" >"$work/prometheus/conf.yml"
  prometheus --config.file="$work/prometheus/conf.yml" --storage.tsdb.path="$work/prometheus/data" --web.listen-address=127.0.0.1:19843 >"$work/prometheus/log" 2>&1 &
  local scraper=$!
  ours "$runtime" "" | cut -f 1,2 >"$work/ours"
  for _ in $(seq 60); do
    sleep 1
    busybox wget -q -O "$work/answer" "http://127.0.0.1:19843/api/v1/query?query=overlaydiff_container_size_rw_bytes%7Bruntime%3D%22$runtime%22%7D" 2>/dev/null || continue
    jq -r '.data.result[] | [.metric.name, .value[1]] | @tsv' "$work/answer" | sort >"$work/theirs"
    [ ! -s "$work/theirs" ] || break
  done
  compare "$runtime: sizes that Prometheus has" "$work/ours" "$work/theirs"
  kill "$server" "$scraper"
  wait "$server" || wrong "serve ended with status $?"
  wait "$scraper" || true
}

make_image
for runtime in "${runtimes[@]}"; do
  "start_$runtime"
  "load_$runtime"
  make_containers "$runtime"
  sizes "$runtime"
  changes "$runtime"
  churn "$runtime"
  scraped "$runtime"
  stopped "$runtime"
done
od ps | head -n 8
[ -z "$failed" ]
