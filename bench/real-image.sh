#!/usr/bin/env bash
# Checks and measures overlaydiff on a real image: a Debian base system with
# python3 and git installed over it, in an overlay with every feature on.
# For root, with Go and debootstrap (testenv/install.sh debootstrap).
#
#   bench/real-image.sh            prepare, check, measure
#   bench/real-image.sh prepare    only make what is kept for the next run
#   bench/real-image.sh large      that, and the image that make bench-full measures
#   bench/real-image.sh forget     remove what is kept
#
# The base system and the installed layer (about 600 MB; the large one is another
# 2 GB) are kept in
# ${XDG_CACHE_HOME:-$HOME/.cache}/overlaydiff/real-image; with them, a run needs
# no network. The mirror and the proxy are the ones this machine's apt uses.
set -euo pipefail

features=redirect_dir=on,metacopy=on,index=on

# Two layers over the base system, each over it alone: one that is made and
# checked soon, and one of the size of an image that people build in.
install_packages=(python3 git)
large_packages=(build-essential git python3-dev golang clang llvm-dev linux-headers-amd64 openjdk-17-jdk-headless)

die() { echo "real-image.sh: $*" >&2; exit 1; }
say() { echo "== $*" >&2; }

self=$(readlink -f "$0")
cd "$(dirname "$self")/.."
case ${1-} in ''|prepare|large|forget) ;; *) die "unknown word '$1': prepare, large, forget or nothing" ;; esac
[ "$(id -u)" = 0 ] || die "needs root: it mounts overlays and makes a root file system"

# In a mount namespace of its own, whatever ends the script also ends its mounts.
if [ -z "${OVERLAYDIFF_REAL_IMAGE_NS-}" ]; then
  OVERLAYDIFF_REAL_IMAGE_NS=1 exec unshare --mount --propagation private "$self" "$@"
fi

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/overlaydiff/real-image
mkdir -p "$cache"
exec 9>"$cache/lock"
flock --nonblock 9 || die "another run is using $cache"

lower=$cache/lower
install=$cache/install # upper and work of the overlay with the packages
large=$cache/large     # the same, with more of them
scratch=$cache/scratch # everything that is not kept

unmount_all() {
  local m
  for m in "$scratch/merged" "$scratch/small-merged"; do
    if mountpoint -q "$m"; then umount "$m" || umount --lazy "$m"; fi
  done
}

cleanup() {
  unmount_all
  rm -rf --one-file-system "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cleanup # a run that was killed leaves files, though no mounts
mkdir -p "$scratch/merged" "$scratch/small-merged"

if [ "${1-}" = forget ]; then
  rm -rf --one-file-system "$lower" "$install" "$large"
  exit
fi

# in_root ROOT COMMAND...: runs the command in ROOT with /proc and /dev. What it
# mounts and starts ends with it.
in_root() {
  local root=$1
  shift
  unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
    sh -ec 'mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"' "$root" \
    env -u TMPDIR HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" 9>&-
}

# overlay UPPER WORK MOUNTPOINT: mounts it over the base system.
overlay() {
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$1,workdir=$2,$features" "$3" ||
    die "no overlay with $features on the file system of $cache (dmesg says more); XDG_CACHE_HOME chooses another"
}

make_lower() {
  command -v debootstrap >/dev/null || die "debootstrap is missing: testenv/install.sh debootstrap"
  local codename mirror tmp=$scratch/lower include=()
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
  # Ask apt itself: sources come in two formats, in any number of files.
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v r="$codename" '$2 == r && $3 == "main" {print $1; exit}')
  [ -n "$mirror" ] || die "apt has no source for '$codename main'"
  case $mirror in https:*) include=(--include=ca-certificates) ;; esac

  say "base system $codename, by debootstrap"
  debootstrap --variant=minbase "${include[@]}" "$codename" "$tmp" "$mirror" >"$scratch/log" 2>&1 9>&- ||
    { tail -n 20 "$scratch/log" >&2; die "debootstrap failed"; }

  # Everything an installation needs goes into the base system, so that the
  # layer above it has nothing but the installation.
  cp -L /etc/resolv.conf "$tmp/etc/resolv.conf"
  apt-config dump Acquire >"$tmp/etc/apt/apt.conf.d/99machine"
  if [ -n "$(ls -A /etc/apt/auth.conf.d 2>/dev/null)" ]; then
    cp -a /etc/apt/auth.conf.d/. "$tmp/etc/apt/auth.conf.d/"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$tmp/usr/sbin/policy-rc.d" # start no service
  chmod 755 "$tmp/usr/sbin/policy-rc.d"
  in_root "$tmp" apt-get -q update >"$scratch/log" 2>&1 ||
    { tail -n 20 "$scratch/log" >&2; die "apt-get update failed in the base system"; }
  in_root "$tmp" apt-get clean
  rm -rf "$install" "$large" # they were made over another base system
  mv -T "$tmp" "$lower"
}

# make_install DIR PACKAGE...: makes upper and work of the base system with these.
make_install() {
  local dir=$1 tmp=$scratch/install
  shift
  say "$* over it, by apt-get"
  mkdir -p "$tmp/upper" "$tmp/work"
  overlay "$tmp/upper" "$tmp/work" "$scratch/merged"
  in_root "$scratch/merged" apt-get -q -y install --no-install-recommends "$@" >"$scratch/log" 2>&1 ||
    { tail -n 20 "$scratch/log" >&2; die "apt-get install failed in the overlay"; }
  in_root "$scratch/merged" apt-get clean
  umount "$scratch/merged"
  mv -T "$tmp" "$dir"
}

# make_small: an upper of about 20 entries, made through a mount as a
# container would make it. It stays mounted: with index=on the naive engine
# needs that.
make_small() {
  mkdir -p "$scratch/small/upper" "$scratch/small/work"
  overlay "$scratch/small/upper" "$scratch/small/work" "$scratch/small-merged"
  (
    cd "$scratch/small-merged"
    echo new >etc/new-file
    echo more >>etc/passwd          # content
    chmod 600 etc/group             # metadata only
    ln etc/new-file etc/new-link
    ln -s new-file etc/new-symlink
    rm etc/debian_version
    rm -r etc/apt/preferences.d     # a directory gone
    mkdir -p srv/a/b
    echo x >srv/a/b/c
    mv etc/skel etc/skel-renamed    # a redirect
    touch var/log/dpkg.log
    echo 1 >var/tmp/one
    echo 2 >var/tmp/two
    echo 3 >var/tmp/three
  )
}

[ -d "$lower" ] || make_lower
[ -d "$install" ] || make_install "$install" "${install_packages[@]}"
[ "${1-}" != large ] || [ -d "$large" ] || make_install "$large" "${large_packages[@]}"
count() { find "$1" | wc -l; }
say "base system: $(count "$lower") entries; installed layer: $(count "$install/upper") entries"
[ ! -d "$large" ] || say "large layer: $(count "$large/upper") entries"
case ${1-} in prepare|large) exit 0 ;; esac

export OVERLAYDIFF_REQUIRE=1 # nothing is skipped
export OVERLAYDIFF_BENCH_LOWER=$lower

say "both engines and the reference differ on the installed layer"
overlay "$install/upper" "$install/work" "$scratch/merged"
OVERLAYDIFF_BENCH_UPPER=$install/upper OVERLAYDIFF_BENCH_WORK=$install/work \
  OVERLAYDIFF_BENCH_MERGED=$scratch/merged \
  go test ./bench -count 1 -run RealImage -v 9>&-
umount "$scratch/merged"

say "usage of the installed layer"
OVERLAYDIFF_BENCH_UPPER=$install/upper go test ./bench -run '^$' -bench '^BenchmarkUsage$' 9>&-

make_small
say "changes of a small layer over the base system"
OVERLAYDIFF_BENCH_UPPER=$scratch/small/upper OVERLAYDIFF_BENCH_WORK=$scratch/small/work \
  OVERLAYDIFF_BENCH_MERGED=$scratch/small-merged \
  go test ./bench -run '^$' -bench '^BenchmarkChanges$' 9>&-
