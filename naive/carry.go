package naive

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// numbers returns the numbers of the inodes whose names are wanted.
func numbers(want *diff.Want) map[uint64]struct{} {
	if want == nil || want.Links == nil {
		return nil
	}
	links := make(map[uint64]struct{}, len(want.Links))
	for id := range want.Links {
		links[id.Ino] = struct{}{}
	}
	return links
}

// descend adds a directory that is one and the same in both trees by the listings
// alone.
func (e *walk) descend(n node, name string, out *items) {
	child := node{at: n.at.Child(name), same: true, old: n.old.Child(name, 0, 0), new: n.new.Child(name, 0, 0)}
	if e.want != nil {
		found := inode.Found{Carried: &inode.Carried{Payload: &inode.Payload{Ref: inode.Ref{Dir: n.new, Name: name}}}}
		out.Weigh(len(n.path) / inode.LongPath)
		found.Change.Path = diff.Join(n.path, name)
		out.Value(found)
	}
	out.Child(child)
}

// was returns the inode of the old tree as one of the new tree, of which it has the
// number if there is a proof.
func (e *walk) was(from, to *inode.Ref) diff.Inode {
	id := diff.Inode{Dev: from.Stat.Dev, Ino: from.Stat.Ino}
	switch {
	case to == nil, e.proof == ProofNone:
	case e.proof == ProofSnapshot && (from.Stat.Dev != e.devices[0] || to.Stat.Dev != e.devices[1]):
	default:
		id.Dev = to.Stat.Dev // the numbers are those of one file system
	}
	return id
}

// carry returns what it takes to carry an entry elsewhere, nil if it is not to be.
func (e *walk) carry(change *diff.Change, from, to *inode.Ref, descended bool) *inode.Carried {
	wanted := inode.Wanted{Change: change, From: from, To: to, Descended: descended}
	if from != nil {
		wanted.Was = e.was(from, to)
	}
	c := wanted.Carried(e.want)
	if c == nil {
		*change = diff.Change{}
		return nil
	}
	if to == nil {
		return c
	}
	change.Entry = to.Entry() // also if nothing changed
	c.Payload = &inode.Payload{Ref: *to, PastSize: e.overlay}
	if from != nil && from.IsDir() && to.IsDir() && change.What&diff.WhatXattrs != 0 {
		c.Old = &inode.Payload{Ref: *from}
	}
	return c
}
