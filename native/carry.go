package native

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// carry notes what it takes to carry an entry elsewhere, if it is to be.
func (w *walk) carry(n *node, at place, from, to *object, f *found) {
	wanted := inode.Wanted{Change: &f.change, From: from.ref(), To: to.ref(), Descended: f.child != nil, Hides: n.hides}
	if from != nil {
		wanted.Was = from.meta.Entry().Inode
	}
	if f.carried = wanted.Carried(w.want); f.carried == nil {
		f.change = diff.Change{}
		return
	}
	if to == nil {
		return
	}
	f.change.Entry = to.meta.Entry() // also if nothing changed
	f.carried.Payload = w.payload(at, to)
	f.carried.Lower = to.layer > 0
	f.carried.Uncounted = w.search != nil && to.layer == 0
	if from == nil || !from.meta.IsDir() || !to.meta.IsDir() {
		return
	}
	if f.change.What&diff.WhatXattrs != 0 {
		f.carried.Old = w.payload(at, from)
	}
	if f.child != nil && to.dirs.upper != nil && len(to.dirs.lowers) == 0 {
		f.carried.Opaque = true
		f.child.hides = f.child.hides || w.want.Opaque
	}
}

// place is where a name is looked up.
type place struct {
	parent merged
	name   string // "": the root itself
	inOld  bool   // in the old view
}

// payload is a [diff.Payload] of what a view shows at a place.
type payload struct {
	inode.Payload
	walk *walk
	at   place
	data inode.Ref // has the content
	blob string    // as of [object]
}

func (w *walk) payload(at place, o *object) *payload {
	return &payload{
		Payload: inode.Payload{Ref: *o.meta, Visible: w.visible}, walk: w, at: at, data: *o.data, blob: o.blob,
	}
}

// Again looks the name up anew. It implements [diff.Payload].
func (p *payload) Again() (diff.Entry, diff.Payload, error) {
	if p.at.name == "" {
		return p.Payload.Again()
	}
	l := lookup{resolver: &p.walk.resolver}
	var a inode.Attempt
	var o *object
	var err error
	for again := true; again; again = a.Again(err) {
		l.reset()
		o, err = l.resolve(p.at.parent, p.at.name, !p.at.inOld)
	}
	switch {
	case err != nil:
		return diff.Entry{}, nil, inode.Raced(err)
	case o == nil:
		return diff.Entry{}, nil, diff.ErrRaced
	}
	return o.meta.Entry(), p.walk.payload(p.at, o), nil
}

// Attributes implements [diff.Payload]. What would keep overlayfs itself from changing
// the file it writes down beside it (fs/overlayfs/util.c, ovl_set_protattr, 5.15).
func (p *payload) Attributes() (string, error) {
	letters, err := p.Payload.Attributes()
	if err != nil {
		return "", err
	}
	err = p.Ref.Dir.Use(func(fd int) error {
		value, _, err := sys.FindXattr(fd, p.Ref.Name, p.walk.marks.Protattr)
		letters += string(value)
		return p.Ref.Dir.WrapXattr(p.walk.marks.Protattr, p.Ref.Name, err)
	})
	return letters, inode.Raced(err)
}

// Open implements [diff.Payload].
func (p *payload) Open() (diff.OpenFile, error) {
	l := lookup{resolver: &p.walk.resolver}
	data, err := l.content(&object{meta: &p.Ref, data: &p.data, blob: p.blob})
	if err != nil {
		return diff.OpenFile{}, inode.Raced(err)
	}
	f, err := data.OpenFile()
	return f, inode.Raced(err)
}
