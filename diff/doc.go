// Package diff defines the types and rules of overlaydiff: what a layer stack is,
// what an entry of a tree is, when an entry counts as changed, and in which order
// changes come. It is pure data: it opens no files and makes no system calls.
//
// A diff compares two views of one directory tree, old and new. A view is what a
// program sees through the mount. For an overlay, old is the merged lower layers,
// and new is the upper layer over them.
//
// Every engine obeys these rules:
//
//   - Paths are absolute within the view ("/etc/passwd") and separated by '/'.
//     They are bytes: a name need not be UTF-8.
//   - Changes come in path order ([ComparePaths]): component by component, so
//     that the entries of a directory follow the directory immediately.
//   - An added tree is listed entry by entry. A removed tree is one delete, of its
//     root. An entry that changed its type is one modify; if it became a
//     directory, its children are adds.
//   - The root directory itself is never a change: its metadata is that of the
//     upper directory, which the runtime created, not the container.
//   - Equal metadata does not prove equal content: [Compare] asks for the
//     content of two regular files of equal size unless the engine has proof
//     that both are one inode.
package diff
