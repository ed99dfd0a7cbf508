#!/usr/bin/env bash
# Writes docs/terminal.svg, the picture in README.md: what overlaydiff prints in a terminal.
#
#   docs/terminal.sh [FILE]     for root; FILE instead of docs/terminal.svg
#
# The overlay is in a tmpfs on /mnt, in a mount namespace that ends with the script. tmux
# is the terminal, and freeze (pinned below) draws what is on its screen.
set -euo pipefail

die() { echo "terminal.sh: $*" >&2; exit 1; }

freeze=github.com/charmbracelet/freeze@v0.2.2
self=$(readlink -f "$0")

# session is what runs in the terminal.
session() {
  type() {
    printf '\e[1;32m#\e[0m \e[1m%s\e[0m\n' "$*"
    "$@"
    echo
  }
  cd /mnt
  type overlaydiff changes app
  type overlaydiff changes --stat app
  type overlaydiff explain app /var/lib/db/base
  type overlaydiff size app
  tmux -S /mnt/tmux wait-for -S typed
  exec sleep 60 # the screen stays until it is copied
}
if [ "${1-}" = session ]; then
  session
fi

[ $# -le 1 ] || die "name one file at most"
cd "$(dirname "$self")/.."
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
out=$(readlink -m "${1-docs/terminal.svg}")
[ "$(id -u)" = 0 ] || die "needs root: it mounts an overlay"
command -v tmux >/dev/null || die "tmux is missing: run testenv/install.sh"
[ -d /mnt ] || die "there is no directory /mnt to mount something on"
if [ -z "${OVERLAYDIFF_TERMINAL_NS-}" ]; then
  OVERLAYDIFF_TERMINAL_NS=1 exec unshare --mount --propagation private "$self" "$@"
fi

mount -t tmpfs -o mode=755 terminal /mnt
mkdir /mnt/bin
go build -trimpath -o /mnt/bin/overlaydiff ./cmd/overlaydiff
GOBIN=/mnt/bin go install "$freeze"
export PATH="/mnt/bin:$PATH"

# An image, and what a container did to it.
cd /mnt
mkdir -p image/{etc,opt/old,usr/lib/app,var/lib/db} upper work app
echo 'root:x:0:0' >image/etc/passwd
echo old >image/opt/old/tool
for module in one two three; do head -c 300K /dev/zero >"image/usr/lib/app/$module"; done
head -c 48M /dev/zero >image/var/lib/db/base
touch -d 2026-01-02 image/etc/passwd image/var/lib/db/base image/usr/lib/app/*
mount -t overlay -o lowerdir=image,upperdir=upper,workdir=work overlay app
echo 'app:x:100:100' >>app/etc/passwd
rm -r app/opt/old app/usr/lib/app/three
chmod 600 app/var/lib/db/base
mkdir app/var/log
head -c 3M /dev/zero >app/var/log/app.log

trap 'tmux -S /mnt/tmux kill-server 2>/dev/null || true' EXIT
env -u TMUX tmux -S /mnt/tmux -f /dev/null new-session -d -x 124 -y 50 "$self session"
timeout 60 tmux -S /mnt/tmux wait-for typed || die "the session did not end within a minute"
# The empty lines below the last command are not part of the picture.
tmux -S /mnt/tmux capture-pane -p -e | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >screen
freeze screen --language ansi --output picture.svg --padding 16 --margin 0 --font.family monospace --font.size 13 --theme charm >&2
[ "$(wc -c <picture.svg)" -lt 60000 ] || die "the picture has $(wc -c <picture.svg) bytes, 60000 are too many"
# freeze refers to a mask that it does not define.
sed 's/ clip-path="url(#terminalMask)"//' picture.svg >"$out"
