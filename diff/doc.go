// Package diff is the vocabulary of overlaydiff: what a layer stack is, what
// an entry of a tree is, when an entry counts as changed, and in which order
// changes come. It is pure data: nothing here opens a file or knows a kernel.
//
// A diff compares two views of one directory tree, old and new. Old and new
// are what a program sees through the mount: for an overlay, old is the lower
// layers merged and new is the upper layer over them.
//
// Rules that every engine obeys:
//
//   - Paths are absolute within the view ("/etc/passwd"), separated by '/',
//     and bytes: a name need not be UTF-8.
//   - Changes come in path order ([ComparePaths]): component by component, so
//     that a directory is followed at once by what is in it.
//   - An added tree is listed entry by entry. A removed tree is one entry, its
//     root. An entry that became something else is one modify; if it became a
//     directory, its children are adds.
//   - The root directory itself is never a change: its metadata belongs to the
//     upper directory as it was made, not to what the container did.
//   - Equal metadata is no proof of equal content: [Compare] asks for the
//     content of two regular files of equal size unless the engine has proof
//     that they are one inode.
package diff
