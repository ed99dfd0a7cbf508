// Package overlaydiff reports what changed between the lower layers of an overlay
// and the view through its mount: the list of changes, their size, and what the
// upper directory holds. Graph drivers and snapshotters import it.
//
//	stack, err := overlaydiff.FromMount(ctx, "/var/lib/docker/overlay2/…/merged")
//	d, err := overlaydiff.Open(ctx, stack, overlaydiff.Options{})
//	defer d.Close()
//	for change, err := range d.Changes(ctx) { … }
//
// Two engines give the same answer. The native engine reads the layer directories;
// its cost follows the upper directory. The naive engine walks both views; its cost
// follows the image. [Open] uses the native engine where it is certain to be right,
// otherwise the naive one. [Diff.Reason] returns why.
//
// Walks check their context between system calls. A system call that is blocked in
// a file system that does not answer (FUSE, NFS) can't be cancelled.
//
// Package diff defines what counts as a change, and the order of changes.
package overlaydiff
