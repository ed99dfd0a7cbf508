#!/usr/bin/env bash
# How long explore, report and changes --tree take until something is to be seen, and
# how much memory: on the large overlay of real-image.sh (which it makes the first
# time), and on one with a million changes, on tmpfs. Root; 2 GB of memory.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
[ "$(id -u)" = 0 ] || { echo "screens.sh: needs root: it mounts a tmpfs" >&2; exit 1; }
testenv/install.sh debootstrap
bench/real-image.sh large 2>/dev/null
go build -trimpath -o dist/overlaydiff ./cmd/overlaydiff
command=$PWD/dist/overlaydiff
image=${XDG_CACHE_HOME:-${HOME:?}/.cache}/overlaydiff/real-image

work=$(mktemp -d)
tmux() { command tmux -u -f /dev/null -S "$work/tmux" "$@"; }
cleanup() {
  tmux kill-server 2>/dev/null || :
  umount "$work/million" 2>/dev/null || :
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export LC_ALL=C.UTF-8

ms() { echo $(($(date +%s%N) / 1000000)); }

# until TEXT: waits until it is on the screen, and prints how many milliseconds that
# is after $start.
until_shown() {
  local tries=0
  until tmux capture-pane -p | grep -q -e "$1"; do
    tries=$((tries + 1))
    [ $tries -lt 6000 ] || { echo "screens.sh: no '$1' on the screen" >&2; tmux capture-pane -p >&2; exit 1; }
    sleep 0.01
  done
  echo $(($(ms) - start)) ms
}

peak() { awk '/VmHWM/ { printf "%d MiB", $2 / 1024 }' "/proc/$1/status"; }

# run NAME COMMAND...: the time and memory of a command.
run() {
  local name=$1 most last=
  shift
  start=$(ms)
  "$@" >"$work/out" &
  local pid=$!
  while most=$(peak $pid 2>/dev/null) && [ -n "$most" ]; do
    last=$most
    sleep 0.005
  done
  wait $pid
  echo "$name: $(($(ms) - start)) ms, $last"
}

# screens LOWER UPPER
screens() {
  local stack=(--lower "$1" --upper "$2") pid last
  last=$("$command" changes "${stack[@]}" | tail -n 1 | sed 's|.*/||')
  run 'changes --tree' "$command" changes --tree "${stack[@]}"
  run 'report' "$command" report -o "$work/page.html" "${stack[@]}"
  echo "  the page: $(stat -c %s "$work/page.html") bytes"
  start=$(ms)
  tmux new-session -d -x 120 -y 40 "$command" explore "${stack[@]}"
  echo "explore, until the tree is shown: $(until_shown 'A [0-9]')"
  pid=$(tmux list-panes -F '#{pane_pid}')
  # press WHAT TEXT KEY...: how long it takes until the text is shown.
  press() { start=$(ms); tmux send-keys "${@:3}"; echo "  $1: $(until_shown "$2")"; }
  press 's, sorted by name' 'sorted by it' s
  press 'E, all directories opened' '▾ [AC ]' E
  press 'G, to the end' "$last" G
  press '/, a search through all' 'no name matches' / no-such-name Enter
  press 'f, a filter' "only $last" f "$last" Enter
  press 'Esc, without it' 'C [0-9,]*  D [0-9,]*$' Escape
  echo "  memory: $(peak "$pid")"
  tmux kill-server
}

echo "== Debian upper: $(find "$image/large/upper" | wc -l) entries"
screens "$image/lower" "$image/large/upper"

mkdir "$work/million"
mount -t tmpfs -o nr_inodes=0,size=4g overlaydiff-screens "$work/million"
mkdir "$work/million/lower"
perl -e '
  my $top = shift;
  mkdir $_ for $top, "$top/var", "$top/var/lib";
  for my $d (0 .. 999) {
    my $dir = sprintf "%s/var/lib/directory-%03d", $top, $d;
    mkdir $dir or die "$dir: $!";
    for my $f (0 .. 999) {
      open my $fh, ">", sprintf("%s/file-%03d-%03d", $dir, $d, $f) or die $!;
      print $fh "x" x ($f % 100);
    }
  }' "$work/million/upper"
echo "== generated: $(find "$work/million/upper" | wc -l) entries"
screens "$work/million/lower" "$work/million/upper"
