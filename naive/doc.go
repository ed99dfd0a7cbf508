// Package naive finds the changes between any two directory trees by walking
// both: two mounts, two snapshots of block devices, two copies. It does not need to know
// how the trees were made. Its cost follows their size.
//
// The package walks both trees together, by directory descriptor and in parallel. It never
// follows a symbolic link. It treats two names as equal without looking at them only if
// they are proven to be one unmodified inode; [Proof] lists the proofs. Otherwise it
// compares metadata, extended attributes, link targets and contents. It does not read
// contents if both files have their data in the same blocks.
//
// In an overlay, a name that can't be looked up is a [diff.UnreadableError]. Overlayfs may
// omit such names from listings. If the upper directory has such a name, the package looks
// it up nevertheless, see [Tree]. A mount that is in use has names in the kernel's cache: if
// two names lead to one lower inode, the second may be ESTALE, or show what the first has.
//
// A mount inside a tree is part of the tree, as it is for a program that
// looks at the tree.
package naive
