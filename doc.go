// Package overlaydiff tells what changed between the lower layers of an
// overlay and what is seen through the mount: the list of changes, their size,
// and what the upper directory holds. It is what graph drivers and
// snapshotters import.
//
//	stack, err := overlaydiff.FromMount(ctx, "/var/lib/docker/overlay2/…/merged")
//	d, err := overlaydiff.Open(ctx, stack, overlaydiff.Options{})
//	defer d.Close()
//	for change, err := range d.Changes(ctx) { … }
//
// Two engines give the same answer. The native one reads the layer directories
// and costs what the upper directory costs; the naive one walks both views and
// costs what the image costs. [Open] takes the native engine wherever it is
// sure to be right, else the naive one, and [Diff.Reason] says why.
//
// Every walk ends with its context, between two system calls; a call that waits for
// a lower layer on a file system that does not answer (FUSE, NFS) ends when that does.
//
// The rules of what counts as a change, and their order, are in package diff.
package overlaydiff
