// Package whiteout reads the marks of overlayfs in a layer directory: how a layer
// encodes "deleted", "hides what is below", redirects and the others.
//
// The mount alone decides which extended attributes are marks: trusted.overlay.*
// normally, user.overlay.* with the option userxattr, never both. The attributes of the
// other namespace are data, which a program may have written to deceive a reader. So
// every reader here belongs to one [Namespace].
//
// Parsers accept untrusted values, because a layer may come from anywhere. They return
// the errno with which the kernel's lookup fails, so that a name that programs
// can't see through the mount is treated neither as absent nor as complete.
//
// Sources: fs/overlayfs of Linux 3.18 to 6.18 and
// Documentation/filesystems/overlayfs.rst. Each reader names the release that
// introduced its mark.
package whiteout
