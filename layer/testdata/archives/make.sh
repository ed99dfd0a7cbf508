#!/usr/bin/env bash
# Makes the archives of this directory, as root on Debian 12, with a file system that
# has extended attributes and ACLs under $TMPDIR:
#
#   apt-get install acl attr bsdtar busybox buildah libcap2-bin python3 skopeo tar umoci zstd
#   layer/testdata/archives/make.sh
#
# TestApply_RealArchives compares what is unpacked with the tree that make_tree makes.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bsdtar=$(command -v bsdtar) busybox=$(command -v busybox)

make_tree() {
  mkdir -p "$1/dir/sub"
  cd "$1"
  printf hello >file
  ln file dir/link
  ln -s ../file dir/symlink
  printf x >setuid && chown 7:8 setuid && chmod 4755 setuid
  mkfifo -m 640 pipe
  mknod -m 600 null c 1 3
  printf u >"dir/ü"
  long=dir/sub/$(printf 'long%.0s' {1..40})
  printf l >"$long"
  printf start >sparse && truncate -s 300000 sparse && printf end >>sparse
  chmod 750 dir && chown 3:4 dir
  if [ "${2-}" = attributes ]; then
    setfattr -n user.k -v value file
    setfattr -n trusted.k -v value dir
    setfacl -m u:1234:rw- setuid
    setfacl -d -m u:1234:rwx dir/sub
    printf c >capable && setcap cap_net_raw+ep capable
  fi
  find . -depth -exec touch -h -d @1000000000 {} +
  cd ..
}
make_tree plain
make_tree full attributes

# GNU tar
names() { (cd "$1" && find . | LC_ALL=C sort); }
gnu() { # FILE TREE [OPTION]...
  names "$2" | tar --no-recursion --numeric-owner -C "$2" -cf "$1" "${@:3}" -T -
}
gnu gnu.tar plain --format=gnu --sparse -V 'a label'
gnu oldgnu.tar plain --format=oldgnu
for v in 0.0 0.1 1.0; do gnu "sparse-$v.tar" plain --format=posix --sparse --sparse-version=$v; done
gnu posix.tar full --format=posix --xattrs '--xattrs-include=*' --acls
(cd plain && tar --format=gnu --numeric-owner -G -cf ../incremental.tar .)
(cd plain && tar --format=posix --numeric-owner --pax-option='globexthdr.name=g,comment=global,uid=5' -cf ../global.tar file dir)

# libarchive
(cd full && names . | "$bsdtar" --numeric-owner -n --format pax --xattrs --acls --read-sparse -cf ../bsdtar-pax.tar -T -)
(cd plain && names . | "$bsdtar" --numeric-owner -n --format gnutar -cf ../bsdtar-gnu.tar -T -)
(cd plain && "$bsdtar" --numeric-owner --format ustar -czf - file dir/link dir/symlink setuid | cat >../bsdtar-ustar.tgz)

# BusyBox
(cd plain && "$busybox" tar -cf ../busybox.tar .)

# Python
python3 - <<'PY'
import tarfile
for name, form in ("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT):
    with tarfile.open("python-%s.tar" % name, "w", format=form) as t:
        t.add("plain", ".", filter=lambda i: (setattr(i, "uname", ""), setattr(i, "gname", ""), i)[2])
PY

# zstd and others around the archive
tar --format=ustar --numeric-owner -C plain -cf small.tar file setuid
zstd -q small.tar -o zstd.tar.zst
pzstd -q -p 2 small.tar -o pzstd.tar.zst
gzip -n <small.tar | dd bs=10240 conv=sync status=none >padded.tar.gz
rm small.tar

# Layers of images
layer_of() { # IMAGE-LAYOUT FILE: the last layer of the only image in it
  python3 - "$1" "$2" <<'PY'
import json, shutil, sys
blob = lambda d: sys.argv[1] + "/blobs/" + d.replace(":", "/")
index = json.load(open(sys.argv[1] + "/index.json"))
manifest = json.load(open(blob(index["manifests"][-1]["digest"])))
shutil.copy(blob(manifest["layers"][-1]["digest"]), sys.argv[2])
PY
}
umoci init --layout image && umoci new --image image:a
umoci insert --image image:a full/ / 2>/dev/null || umoci insert --image image:a full /
layer_of image umoci.tar.gz
skopeo --insecure-policy copy -q --dest-compress --dest-compress-format zstd oci:image:a "dir:$work/skopeo"
cp "$work/skopeo/$(python3 -c 'import json; print(json.load(open("skopeo/manifest.json"))["layers"][-1]["digest"].split(":")[1])')" skopeo.tar.zst
store="--root $work/root --runroot $work/run --storage-driver vfs"
container=$(buildah $store from scratch)
buildah $store copy -q "$container" full / >/dev/null
buildah $store commit -q "$container" oci:buildah:a >/dev/null
buildah $store rm "$container" >/dev/null
layer_of buildah buildah.tar

# Indexed for lazy reading, by their Go modules
(cd "$here/../../../bench/peers" && CGO_ENABLED=0 GOWORK=off go build -o "$work/chunked" ./chunked)
names plain >/dev/null
tar --format=posix --numeric-owner --sort=name -C plain -cf - file dir setuid | tee >(./chunked estargz >estargz.tar.gz) | ./chunked zstd:chunked >zstd-chunked.tar.zst
sleep 1

for f in *.tar *.tgz *.tar.gz *.tar.zst; do
  case $f in
    *.tar) gzip -n9 <"$f" >"$here/$f.gz" ;;
    *) cat "$f" >"$here/$f" ;;
  esac
done
ls -l "$here"
