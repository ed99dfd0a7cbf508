// Package whiteout knows how "deleted", "hides what is below" and the other
// marks of overlayfs are encoded in a layer directory, and reads them.
//
// Which extended attributes are marks depends on the mount alone: trusted.overlay.*
// normally, user.overlay.* with the userxattr option, never both. The other
// namespace is a program's own data, which it may have written to deceive; so
// every reader here belongs to one [Namespace].
//
// Parsers take untrusted values: a layer may come from anywhere. They return
// the error that the kernel's own lookup fails with, so that a name that can't
// be seen through the mount is not taken for absent or for whole.
//
// Sources: fs/overlayfs of Linux 3.18 to 6.18 and
// Documentation/filesystems/overlayfs.rst; the release that brought a mark is
// named where it is read.
package whiteout
