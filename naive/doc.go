// Package naive finds the changes between any two directory trees by walking
// both: two mounts, two block device snapshots, two copies. It needs to know
// nothing of how the trees came about, and its cost follows their size.
//
// Both trees are walked together, by directory descriptor and in parallel; a
// symbolic link is never followed. Two names are taken for equal without a look
// inside only if they are proven to lead to one unmodified inode, which [Proof]
// is about; else metadata, extended attributes, link targets and contents are
// compared. Contents need not be read where both files have their data in the
// same blocks.
//
// In an overlay, a name that can't be looked up is a [diff.UnreadableError]. Overlayfs may
// leave such names out of listings; those that the upper directory has are looked up
// all the same, see [Tree]. A mount that is in use has names in its cache: of two that
// lead to one lower inode, the second may be ESTALE, or show what the first has.
//
// What is mounted inside a tree is part of it, as it is for a program that
// looks at the tree.
package naive
