// Package native finds the changes of an overlay by reading its layer
// directories, without a mount. It resolves every name twice, as the kernel's lookup
// does: over the lower layers (the old view), and over the upper and the lower layers
// (the new view). It descends only where the two views can differ: its cost
// follows the upper layer, not the image.
//
// [Engine.Explain] looks up one path in the same way and returns what each layer has there.
//
// The stack's [diff.Features] decide which attributes are marks, as mount options do.
// The contents of layers never decide it: in an overlay mounted without userxattr,
// user.overlay.* attributes are data. Older kernels interpret some marks
// differently. When a walk first meets such a mark, the package mounts a small overlay
// to find out the rule of the running kernel.
//
// [Open] refuses a stack that it can't read correctly, with an error that matches
// [diff.ErrUnsupported] and has the reason. A name that the kernel would refuse to look
// up is a [diff.UnreadableError], with a [MarkError] if a mark is the reason: programs
// can't see the name through the mount either. The package does not look at names that both
// views show alike and that the upper layer does not have.
//
// Layers may be written by hostile programs. Symbolic links are never followed,
// redirects can't leave their layer, and every name is opened relative to the
// descriptor of its directory.
package native
