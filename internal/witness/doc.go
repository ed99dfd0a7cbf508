// Package witness proves that directories are the layers of a mounted overlay.
//
// The mount table has the layers' names, and a name can lead to another directory by
// now. But what a layer provides and nothing above it hides is one inode, whether it is
// looked at through the mount or in the layer directory. Such an entry is a witness.
// Overlayfs passes through the inode's birth and change time and its size, of
// non-directories its number as well (ovl_getattr, ovl_map_dev_ino), and since Linux 6.6
// its file handle (ovl_encode_fh for AT_HANDLE_FID, commit 16aac5ad1fa9).
//
// The search for a witness takes a bounded number of system calls, however large the
// layer is. Names are looked up by descriptor; no symbolic link is followed and no mount
// is crossed, since a container may change the overlay at the same time.
package witness
