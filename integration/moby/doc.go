// Package moby is a graph driver for moby, "overlaydiff": moby's overlay2 keeps and
// mounts the layers, and overlaydiff tells what is in them, and unpacks them. A daemon
// has it by importing the package.
//
// A layer over its parent is read natively, whatever overlayfs has put there. overlay2
// mounts both and compares whole trees for a list of changes, and for a layer as well
// where redirect_dir is on; its own way to read an upper directory keeps no extended
// attributes but capabilities, and times to the second.
//
// It does not change how layers are kept: the store is overlay2's in another directory.
package moby
