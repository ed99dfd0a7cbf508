//go:build linux

// Package mountutil knows how overlays are mounted: the option strings and
// their escapes, which stack of layers a mount consists of, and how to mount
// one for a while and leave nothing behind.
//
//   - [ParseOptions] and [ParseMountinfo] read the two spellings of the
//     options, [Options.Stack] applies the kernel's rules about what they imply.
//   - [StackOfMount], [StackOfProcess] and [StackOfOptions] describe an overlay
//     as a [diff.Stack]. The mount table holds the paths as the mounter wrote
//     them, and they may be relative, gone, or name another directory by now: each
//     layer is proven to be the mounted one (docs/proof.md).
//   - [Mount] mounts an overlay until Close. [OpenView] opens a read-only view
//     that is in no mount table and under no path: it lives as long as its
//     descriptor, so that it ends with the process even if that is killed.
//   - [OpenTree] opens a directory so that what is mounted inside is not seen.
//
// It is mechanism only. It never probes: what the running kernel can do is
// found out by package features, and an operation which the kernel refuses
// returns an error that matches [diff.ErrUnsupported]. Of what is in the layers
// it reads what proves them. It keeps no state between calls, changes neither the working
// directory, nor the mount namespace, nor any credentials, and never mounts an
// upper directory a second time for writing.
//
// Don't use it to mount a container's root file system for good, nor to list
// mounts: moby/sys/mount and moby/sys/mountinfo do that.
//
// All functions may be called by several goroutines at once.
package mountutil
