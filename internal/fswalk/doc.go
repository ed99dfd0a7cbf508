// Package fswalk walks directory trees by descriptor: in parallel, within
// bounds of memory and descriptors, and with its results in path order whatever
// the number of workers.
//
// It has two parts that know nothing of each other. [Dir] is a directory
// reached by names from an opened root; its descriptor comes from a [Pool] that
// keeps a bounded number open and opens again what it had to close, so that
// depth costs time but never descriptors. [Ordered] expands a tree of
// anything: the engines' trees are pairs of directories, or stacks of them.
//
// What a name leads to is never followed: a symbolic link where a directory was
// expected is an error (ENOTDIR or ELOOP), so a walk can't leave its root.
package fswalk
