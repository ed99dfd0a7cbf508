package survey

import (
	"iter"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Tree is the changes of one diff, and the directories that lead to them. It is not
// changed once it is built, and then safe for concurrent use.
//
// Nodes have numbers, in path order: 0 is the root, a directory is followed by all
// that is below it.
type Tree struct {
	nodes []Node
	// Raced is how many entries vanished or changed while they were read.
	Raced int64
	// Unreadable is how many paths a view has an error at instead of an answer. They, and
	// what is below them, are not in the tree. See [overlaydiff.Options.OnUnreadable].
	Unreadable int64
	// NoWaste says why waste is not known, if it is not.
	NoWaste error
}

// Node is a path of the tree.
type Node struct {
	Name   string // bytes, as the container chose them; "/" of the root
	Parent int32  // number; -1 of the root
	end    int32  // number after the last one below

	Kind  diff.Kind // 0: the path is no change itself
	Type  diff.Type // of the new view, or of what was deleted
	Waste diff.WasteKind
	What  diff.What // see [diff.Options.Kinds]

	Sum Sum // of the node and all below
}

// Sum adds up changes.
type Sum struct {
	// Bytes of files that are added or modified, every inode once: [diff.Size].
	Bytes int64
	// CopyUps are the bytes of files that the upper directory holds although their
	// content is that of the lower layers'.
	CopyUps int64
	// Kept are the bytes of what was deleted and stays in the lower layers.
	Kept int64
	// Added, Modified and Deleted count changes: a deleted tree is one.
	Added, Modified, Deleted int32
}

// Changes is the number of changes.
func (s Sum) Changes() int64 { return int64(s.Added) + int64(s.Modified) + int64(s.Deleted) }

func (s *Sum) add(o *Sum) {
	s.Bytes = diff.AddBytes(s.Bytes, o.Bytes)
	s.CopyUps = diff.AddBytes(s.CopyUps, o.CopyUps)
	s.Kept = diff.AddBytes(s.Kept, o.Kept)
	s.Added += o.Added
	s.Modified += o.Modified
	s.Deleted += o.Deleted
}

// Len is the number of nodes, the root included.
func (t *Tree) Len() int { return len(t.nodes) }

// Node returns a node by its number. It is not to be changed.
func (t *Tree) Node(i int) *Node { return &t.nodes[i] }

// End is the number after the last node below i: those below are i+1 to End(i)-1.
func (t *Tree) End(i int) int { return int(t.nodes[i].end) }

// Children returns the numbers of the nodes right below i, in the order of their names.
func (t *Tree) Children(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for c := i + 1; c < t.End(i); c = t.End(c) {
			if !yield(c) {
				return
			}
		}
	}
}

// Path returns the path of a node, absolute within the view.
func (t *Tree) Path(i int) string {
	if i == 0 {
		return "/"
	}
	var names []string
	size := 0
	for ; i > 0; i = int(t.nodes[i].Parent) {
		names = append(names, t.nodes[i].Name)
		size += 1 + len(t.nodes[i].Name)
	}
	path := make([]byte, 0, size)
	for n := len(names) - 1; n >= 0; n-- {
		path = append(append(path, '/'), names[n]...)
	}
	return string(path)
}

// Find returns the number of the node at a path, or of the nearest one above it.
func (t *Tree) Find(path string) (i int, exact bool) {
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			break
		}
		found := -1
		for c := range t.Children(i) {
			if t.nodes[c].Name == name {
				found = c
				break
			}
		}
		if found < 0 {
			return i, false
		}
		i = found
	}
	return i, true
}
