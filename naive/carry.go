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

// carry returns what it takes to carry an entry elsewhere, nil if it is not to be.
func (e *walk) carry(change *diff.Change, from, to *inode.Ref, descended bool) *inode.Carried {
	wanted := inode.Wanted{Change: change, From: from, To: to, Descended: descended}
	if from != nil {
		wanted.Was = diff.Inode{Dev: from.Stat.Dev, Ino: from.Stat.Ino}
		if e.proof != ProofNone && wanted.Was.Dev == e.devices[0] { // equal numbers are one inode
			wanted.Was.Dev = e.devices[1]
		}
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
