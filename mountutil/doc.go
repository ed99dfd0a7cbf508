//go:build linux

// Package mountutil handles the mounting of overlays: it parses option strings and
// their escapes, finds the layer stack of a mount, and mounts overlays
// temporarily, without leaving anything behind.
//
//   - [ParseOptions] and [ParseMountinfo] parse the two spellings of mount
//     options. [Options.Stack] applies the kernel's rules about what they imply.
//   - [StackOfMount], [StackOfProcess] and [StackOfOptions] describe an overlay
//     as a [diff.Stack]. The mount table has paths as the caller of mount(2) wrote
//     them. They may be relative, deleted, or name another directory by now. So each
//     layer is proven to be the mounted one (docs/proof.md).
//   - [Mount] mounts an overlay until Close. [OpenView] opens a read-only view
//     that has no path and is in no mount table. The view lives as long as its
//     descriptor, so it ends with the process even if the process is killed.
//   - [OpenTree] opens a directory without the mounts inside it.
//
// If the kernel refuses an operation, the error matches [diff.ErrUnsupported]; package
// features finds out in advance what a kernel supports. The package reads layers only
// to prove them. It keeps no state between calls. It never changes the working directory,
// the mount namespace or credentials, and never mounts an upper directory a second time
// for writing.
//
// Don't use it to mount a container's root file system permanently, or to list
// mounts: moby/sys/mount and moby/sys/mountinfo do that.
//
// All functions may be called by several goroutines at once.
package mountutil
