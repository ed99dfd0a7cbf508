// Package mounting has every call by which the library mounts: mount(2), the calls of the
// new mount API, umount2, and the mount namespaces in which one thread mounts. No other
// package of the library calls them.
//
// A tree is a detached mount: only its descriptor leads to it, and it ends with that.
// Errors are a [syscall.Errno] unless a function says otherwise. Functions are safe for
// concurrent use.
package mounting
