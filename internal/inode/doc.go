// Package inode is what both engines do with one name of a tree: read the inode
// at (directory, name), compare two of them by [diff.Compare], and tell an
// inode that vanished meanwhile from an error.
package inode
