// Package features tells what a kernel, a file system and a user namespace can
// do for overlays, by doing it in a scratch directory.
//
// Every answer is one of three: [Yes], [No], or [Unknown], which is "cannot
// tell", each with its reason. As an error, which is how [Prober.Have] gives
// it, nil means yes, an error that matches [diff.ErrUnsupported] means
// conclusively no, and any other error means that it could not be told:
// privileges are missing, the disk is full, a security filter interfered. EPERM
// is a no only where something similar is allowed, so that the kernel must be
// meant, not a filter.
//
// A [Prober] remembers yes and no by what they depend on: the kernel, the
// directory and its mount, the user namespace, the overlay module's parameters.
// It never remembers that it could not tell. A remembered yes does not mean that
// the call can't fail.
//
// Kernel versions play no part in an answer; distributions add and remove
// features. [Result.Since] is for messages, and for this package's tests.
//
// Nothing is left behind: overlays are mounted detached, with the new mount API
// (Linux 5.2), so that they end with the process, whatever ends it. The scratch
// directory is locked while it is in use; what a killed process left is found
// and removed by the next.
//
// Some questions are about a user namespace that is made for them, which takes
// another process: the program itself, started again. That is done only if the
// program calls [Main] at the beginning of its main function.
package features
