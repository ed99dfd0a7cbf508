#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: as root on Debian or a
# relative, with Go and git already there.
#
#   testenv/install.sh                what the tests need
#   testenv/install.sh debootstrap    that, and debootstrap for bench/real-image.sh
#   testenv/install.sh browser        that, and the browser of integration/browser.sh
#   testenv/install.sh vm             that, and what virtual machines need (make test-vm)
#   testenv/install.sh vm-arm64       that, for machines of arm64, emulated
#
# With everything there it does nothing, quickly and without the network.
set -euo pipefail
# mkfs is not in every user's PATH, nor is Go where its archive is unpacked.
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"

packages=()
# need PACKAGE COMMAND...: notes the package unless each command is there.
need() {
  local package=$1 command
  shift
  for command; do
    if ! command -v "$command" >/dev/null; then
      packages+=("$package")
      return
    fi
  done
}

need mount mount umount losetup
need util-linux unshare findmnt flock setpriv
need e2fsprogs mkfs.ext4 debugfs
need xfsprogs mkfs.xfs
need btrfs-progs mkfs.btrfs
need erofs-utils mkfs.erofs
need squashfs-tools mksquashfs
need attr getfattr setfattr
need acl getfacl setfacl
need fuse-overlayfs fuse-overlayfs
need make make
need perl-base perl
need tar tar
need gzip gzip
need zstd zstd
need tmux tmux
# The race detector is built with a C compiler and the C library's headers.
need gcc gcc
[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)

for word; do
  case $word in
    debootstrap) need debootstrap debootstrap ;;
    browser) need chromium chromium ;;
    vm | vm-amd64 | vm-arm64 | vm-s390x)
      if [ "$(uname -m)" != x86_64 ]; then
        echo "install.sh: the virtual machines are of x86_64, this is $(uname -m): leave them out (OVERLAYDIFF_KERNELS=none)" >&2
        exit 1
      fi
      case $word in
        vm | vm-amd64) need qemu-system-x86 qemu-system-x86_64 ;;
        vm-arm64) need qemu-system-arm qemu-system-aarch64 ;;
        vm-s390x) need qemu-system-misc qemu-system-s390x ;;
      esac
      need dmsetup dmsetup
      need xz-utils xz
      ;;
    *) echo "install.sh: unknown word '$word': debootstrap, browser, vm, vm-arm64, vm-s390x or nothing" >&2; exit 2 ;;
  esac
done

if ! command -v go >/dev/null; then
  echo "install.sh: there is no go in PATH: install Go 1.26 or later from https://go.dev/dl/" >&2
  exit 1
fi
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "install.sh: missing, under Debian's package names: ${packages[*]}. There is no apt-get: install them by hand" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "install.sh: missing: ${packages[*]}. Not root: run 'apt-get install ${packages[*]}' as root" >&2
  exit 1
fi

echo "install.sh: installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -o DPkg::Lock::Timeout=600) # another program may be installing something
install=("${apt[@]}" -y install --no-install-recommends "${packages[@]}")
# A fresh machine has no package lists, an old one may have stale ones: fetch
# them only when the installation fails without.
if ! "${install[@]}" </dev/null >/dev/null 2>&1; then
  { "${apt[@]}" update && "${install[@]}"; } </dev/null >&2 || {
    echo "install.sh: apt-get can't install ${packages[*]}: see what it says above" >&2
    exit 1
  }
fi
