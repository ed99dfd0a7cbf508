//go:build linux

// Package differ is a diff service of containerd that answers from the layer
// directories: what it costs follows what a container changed, not its image.
//
// Compare takes the mounts of a snapshot and of its parent, as the overlay
// snapshotter gives them:
//
//   - an active snapshot: an overlay with an upper directory over the layers that
//     the other mount shows;
//   - a committed one: a read-only overlay of one layer more than the other. That
//     layer is read as an upper directory;
//   - a first layer: a directory, compared with an empty one.
//
// Whatever else there is, an unknown mount option or two snapshots of which one is
// not the parent of the other, is an errdefs.ErrNotImplemented: containerd then
// asks the next differ of its list. So is what the engines can't read here.
//
// Apply unpacks a layer into an overlay with an upper directory, or into the
// directory of a first layer. It mounts the overlay and writes through the mount,
// in a mount namespace of its own, so that everything is as the kernel makes it:
// the attributes of directories that a layer changes but does not list, links to
// files of lower layers, whiteouts. Other mounts and media types, encrypted ones
// among them, are an errdefs.ErrNotImplemented. Once something was written an
// error is final: no other differ may go on with half a layer.
//
// The package logs nothing: Options.OnCompare is told what was compared.
package differ
