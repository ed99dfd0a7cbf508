// Package features reports what a kernel, a file system and a user namespace support
// for overlays. It finds out by trying, in a scratch directory.
//
// Every answer is [Yes], [No] or [Unknown] ("cannot tell"), and No and Unknown have a reason.
// [Prober.Have] returns the answer as an error: nil means yes; an error that matches
// [diff.ErrUnsupported] means conclusively no; any other error means unknown:
// privileges are missing, the disk is full, or a security filter interfered. EPERM
// means no only if a similar operation is permitted, because then the kernel
// refused it, not a filter.
//
// A [Prober] caches yes and no by what they depend on: the kernel, the
// directory and its mount, the user namespace, and the parameters of the overlay module.
// It never caches unknown. A cached yes does not guarantee that the call succeeds.
//
// Answers do not depend on kernel versions, because distributions add and remove
// features. [Result.Since] is for messages, and for the tests of this package.
//
// Nothing is left behind. Overlays are mounted detached, with the new mount API
// (Linux 5.2), so that they end with the process even if it is killed. The scratch
// directory is locked while it is in use. If a process is killed, the next one
// removes its directory.
//
// Some questions need a user namespace of their own, and so another
// process: the program starts itself again. It does so only if it
// calls [Main] at the beginning of its main function.
package features
