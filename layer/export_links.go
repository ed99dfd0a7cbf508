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
	if g.seen >= g.links && !g.more && !x.linking() {
		delete(x.groups, e.Inode)
	}
}

// linking reports whether this is the second pass, for names that did not change.
func (x *exporter) linking() bool { return x.secondPass }

// missingLinks returns what asks for the other names of inodes that are in the
// layer: a layer in which they are missing would tear them apart. None: Links is
// nil.
func (x *exporter) missingLinks() diff.Want {
	x.secondPass = true
	var want diff.Want
	for id, g := range x.groups {
		if want.Links == nil {
			want.Links = map[diff.Inode]struct{}{}
		}
		want.Links[id] = struct{}{}
		want.Lower = want.Lower || g.lower
	}
	return want
}
