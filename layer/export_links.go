package layer

import "github.com/overlaydiff/overlaydiff/diff"

// group is the names of one inode, until all have been seen.
type group struct {
	first *entry // carries the inode; the others link to it
	seen  uint32
	links uint32
	lower bool // see [diff.Item]
	more  bool // there may be more than links

	moved *entry // carries the inode because first could not be read; the writer's
}

// link makes e a link to an inode that is in the layer, if it is another name of one.
func (x *exporter) link(e *entry, it *diff.Item) {
	if e.Nlinks < 2 {
		return
	}
	g := x.groups[e.Inode]
	if g == nil {
		g = &group{first: e, links: e.Nlinks, lower: it.Lower, more: it.Uncounted}
		x.groups[e.Inode] = g
	}
	e.group = g
	g.seen++
	if g.seen >= g.links && !g.more && x.pass == writing {
		delete(x.groups, e.Inode)
	}
}

// unchangedLinks returns what asks for the names that did not change and must be in
// the layer all the same: the other names of inodes that are in it, which it would
// tear apart, and names which the new view has linked to others than the old view had.
// None: Links is nil.
func (x *exporter) unchangedLinks() diff.Want {
	var want diff.Want
	ask := func(id diff.Inode, lower bool) {
		if want.Links == nil {
			want.Links = map[diff.Inode]struct{}{}
		}
		want.Links[id] = struct{}{}
		want.Lower = want.Lower || lower
	}
	for id, g := range x.groups {
		ask(id, g.lower)
	}
	for id, lower := range x.stayed.parted(func(id diff.Inode) bool { return x.groups[id] != nil }) {
		ask(id, lower)
	}
	return want
}
