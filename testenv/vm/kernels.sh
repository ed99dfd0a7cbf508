#!/usr/bin/env bash
# Fetches Debian's cloud kernels for virtual machines, the newest of each series:
#
#   testenv/vm/kernels.sh [-arch ARCH] 5.10 6.12 latest
#
# ARCH is amd64 unless said otherwise, arm64, or s390x, for which the archive has one series.
# The suffix -16k, as in latest-16k, asks for arm64 kernels with pages of 16 KiB instead of 4 KiB.
#
# Prints a line for each: the series and the directory that has its kernel and
# modules, or MISSING for a series that the archive has no longer, or never had.
# The word qemu-user stands for the newest emulator of programs, static, instead; tools for a root
# directory with what guests of another architecture than this machine's run.
# Nothing is installed: the mirrors of this machine's apt are asked through an
# apt root of our own, with other suites and with signatures checked as ever.
#
# The directories are a cache, ${XDG_CACHE_HOME:-~/.cache}/overlaydiff/kernels.
# Series are pinned and not versions: the archive drops point releases.
set -euo pipefail

arch=amd64
if [ "${1-}" = -arch ]; then
  arch=$2
  shift 2
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/overlaydiff/kernels
[ "$arch" = amd64 ] || cache=$cache/$arch
root=$cache/.apt # absolute: apt takes a relative one for one below /
mkdir -p "$root"/{parts,state/lists/partial,cache/archives/partial}
exec 9>"$cache/.lock"
flock 9
unpacked=
trap 'rm -rf "$cache/.debs" ${unpacked:+"$unpacked"}' EXIT

apt=(-o Dir::Etc::sourcelist=- -o Dir::Etc::sourceparts="$root/parts" -o Dir::State="$root/state"
  -o Dir::State::status="$root/state/status" -o Dir::Cache="$root/cache"
  -o APT::Architecture="$arch" -o APT::Architectures="$arch"
  -o Acquire::Languages=none -o APT::Sandbox::User=root -o Acquire::Retries=3)

# mirror [-v] security: the first address of this machine's sources that is for
# security updates, or with -v one that is not.
mirror() {
  local all # not a pipe: grep goes at the first line, and apt-get would fail
  all=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages') && grep "$@" -m 1 <<<"$all"
}

# sources names the suites with small indexes only: the security suites have
# the old series, the backports the new ones.
sources() {
  local main security suite keys=/usr/share/keyrings/debian-archive-keyring.gpg
  main=$(mirror -v security) && security=$(mirror security) || {
    echo "kernels.sh: apt's sources name no mirror, or none for security updates: add them" >&2
    return 1
  }
  local suites=("$security bullseye-security" "$security bookworm-security" "$main trixie-backports")
  [ "$arch" != s390x ] || suites=("$main trixie") # the others no longer build for it
  for suite in "${suites[@]}"; do
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: '$arch'\nSigned-By: %s\n\n' $suite "$keys"
  done
}

# versions lists what has both kernel and modules, oldest first: up to 6.18 in
# one package, later in two, of which the archive may have only one.
versions() {
  {
    sed -nE 's/^linux-image-((5|6\.[0-9]|6\.1[0-8])\..*)-'$flavour'$/\1/p' <<<"$names"
    comm -12 <(sed -nE 's/^linux-binary-([0-9].*)-'$flavour'$/\1/p' <<<"$names" | sort) \
      <(sed -nE 's/^linux-modules-([0-9].*)-'$flavour'$/\1/p' <<<"$names" | sort)
  } | grep -E '^[0-9]+\.[0-9]+\.[0-9]' | sort -Vu
}

# fetch VERSION DIR: unpacks its kernel and the modules that tests may need.
fetch() {
  local version=$1 dir=$2 packages package
  unpacked=$cache/.unpacked
  rm -rf "$unpacked" "$cache/.debs" "${dir:?}"
  mkdir -p "$unpacked" "$cache/.debs" "$dir/modules"
  packages="linux-image-$version-$flavour"
  if grep -qx "linux-binary-$version-$flavour" <<<"$names"; then
    packages="linux-binary-$version-$flavour linux-modules-$version-$flavour"
  fi
  (cd "$cache/.debs" && apt-get "${apt[@]}" -qq download $packages >&2) || return
  for package in "$cache"/.debs/*.deb; do
    dpkg-deb -x "$package" "$unpacked" || return
  done
  find "$unpacked" -type f -name 'vmlinuz*' -exec mv {} "$dir/vmlinuz" \;
  find "$unpacked" -type f -name '*.ko*' \
    -regex '.*/kernel/\(arch\|crypto\|fs\|lib\|drivers/\(block\|char\|dax\|md\|virtio\)\)/.*' \
    -exec mv -t "$dir/modules" {} +
  rm -rf "$unpacked" "$cache/.debs"
  touch "$dir/.ok" # last: without it, the next run starts over
}

# The packages of the tools that kit.go lists.
tools=(dash coreutils gzip perl-base util-linux mount tar zstd dmsetup e2fsprogs btrfs-progs erofs-utils xfsprogs squashfs-tools)

# toolbox DIR: unpacks the tools and what they depend on.
toolbox() {
  local suite=bookworm
  unpacked=$cache/.unpacked
  rm -rf "$unpacked" "$root/cache/archives" "$1"
  mkdir -p "$unpacked" "$root/cache/archives/partial"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: '$arch'\nSigned-By: %s\n\n' \
    "$(mirror -v security)" $suite /usr/share/keyrings/debian-archive-keyring.gpg >"$root/parts/kernels.sources" # which the next run writes again
  apt-get "${apt[@]}" -qq update >&2
  apt-get "${apt[@]}" -qq -y --no-install-recommends --download-only -o Dir::Cache::archives="$root/cache/archives" install "${tools[@]}" >&2
  for package in "$root"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$unpacked"
  done
  rm -rf "$root/cache/archives"
  mkdir -p "$root/cache/archives/partial"
  mv "$unpacked" "$1"
}

# emulator VERSION DIR: unpacks qemu-user of that version.
emulator() {
  unpacked=$cache/.unpacked
  rm -rf "$unpacked" "$cache/.debs" "$2"
  mkdir -p "$unpacked" "$cache/.debs"
  (cd "$cache/.debs" && apt-get "${apt[@]}" -qq download "qemu-user=$1" >&2)
  dpkg-deb -x "$cache"/.debs/*.deb "$unpacked"
  mv "$unpacked" "$2" # at once: there is no half of it
}

: >"$root/state/status"
sources >"$root/parts/kernels.sources"
apt-get "${apt[@]}" -qq update >&2 || echo "kernels.sh: not every index could be fetched" >&2
names=$(apt-cache "${apt[@]}" pkgnames linux- | grep -E '^linux-(image|binary|modules)-[0-9]' || true)
[ -n "$names" ] || {
  echo "kernels.sh: apt knows of no kernels at all: without the network, and without an index of before, there are none" >&2
  exit 1
}

for series; do
  if [ "$series" = tools ]; then
    dir=$cache/tools-$(sha256sum <<<"${tools[*]}" | cut -c1-8) # with another list, another directory
    [ -e "$dir" ] || toolbox "$dir"
    echo "tools $dir"
    continue
  fi
  if [ "$series" = qemu-user ]; then
    version=$(apt-cache "${apt[@]}" madison qemu-user | awk '{print $3}' | sort -V | tail -n 1)
    [ -n "$version" ] || { echo "qemu-user MISSING"; continue; }
    dir=$cache/qemu-user-${version#*:}
    [ -e "$dir" ] || emulator "$version" "$dir"
    echo "qemu-user $dir"
    continue
  fi
  flavour=cloud-$arch pages=
  case $arch/$series in
    s390x/*) flavour=s390x ;; # it has no other
    arm64/*-16k) flavour=arm64-16k pages=-16k ;;
  esac
  pattern=${series%"$pages"}
  case $pattern in
    latest) pattern='^' ;;
    *) pattern="^${pattern//./\\.}\\." ;;
  esac
  found=
  # An index may name a kernel that a mirror does not have, or has no longer: then the one before.
  for version in $(versions | grep -E "$pattern" | tac | head -n 3); do
    found=$version$pages
    { [ -e "$cache/$found/.ok" ] || fetch "$version" "$cache/$found"; } && break
    found=failed
  done
  [ "$found" != failed ] || { echo "kernels.sh: no kernel of the series $series can be fetched" >&2; exit 1; }
  echo "$series ${found:+$cache/}${found:-MISSING}"
done
