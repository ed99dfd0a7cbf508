// Package native finds the changes of an overlay by reading its layer
// directories, without a mount. It resolves every name as the kernel's lookup
// does, once over the lower layers (the old view) and once over the upper and
// the lower layers (the new view), and descends only where the two can differ:
// its cost follows the upper layer, not the image.
//
// [Engine.Explain] looks up one path in the same way and tells what it met in
// each layer.
//
// What marks mean is decided by the stack's [diff.Features], as mount options
// decide it, and never by what the layers hold: the user.overlay.* attributes
// of an overlay mounted without userxattr are data. Some marks older kernels take
// otherwise; the running kernel's rules hold, and are found out by mounting when
// such a mark is first met.
//
// [Open] refuses, with an error that matches [diff.ErrUnsupported] and says
// why, a stack that it can't read rightly. A name that the kernel would refuse to
// look up is a [diff.UnreadableError], with a [MarkError] if a mark is the reason: the
// name can't be seen through the mount either. Names that both views show alike, and
// of which the upper layer has nothing, are not looked at.
//
// Layers may be written by hostile programs: symbolic links are never followed,
// redirects can't leave their layer, and names lead from directory descriptor
// to directory descriptor.
package native
