package layer

import (
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// stayed has the names that did not change, of inodes with several names, by the
// inodes that the two views have there. Where an inode of one view is several of the
// other (a copy-up without index=on parts the names of an inode, even if nothing is
// written), a layer without these names would leave others linked than the new view has.
type stayed map[inodes]*sameNames

// inodes are an inode of the old view and one of the new.
type inodes struct{ old, new diff.Inode }

// sameNames are the names at which the views have the same two inodes.
type sameNames struct {
	count    uint32
	first    string // in path order
	oldLinks uint32 // link counts of the inodes
	newLinks uint32
	lower    bool // see [diff.Item]
}

func (s stayed) add(it *diff.Item) {
	id := inodes{it.Was, it.Entry.Inode}
	n := s[id]
	if n == nil {
		n = &sameNames{first: strings.Clone(it.Path), oldLinks: it.WasLinks, newLinks: it.Entry.Nlinks}
		s[id] = n
	}
	n.count++
	n.lower = n.lower || it.Lower
}

// unseen returns what asks for all names of these inodes, if there may be more than
// were seen: of those which are one inode in both views nothing was told. None: Links
// is nil.
func (s stayed) unseen() diff.Want {
	oldSeen, newSeen := map[diff.Inode]uint32{}, map[diff.Inode]uint32{}
	for id, n := range s {
		oldSeen[id.old] += n.count
		newSeen[id.new] += n.count
	}
	some := false
	links := make(map[diff.Inode]struct{}, 2*len(s))
	for id, n := range s {
		some = some || oldSeen[id.old] != n.oldLinks || newSeen[id.new] != n.newLinks
		links[id.old], links[id.new] = struct{}{}, struct{}{}
	}
	if !some {
		return diff.Want{}
	}
	return diff.Want{Links: links, Lower: true}
}

// parted returns the inodes of the new view whose names must be in the layer, and
// whether names may be where only lower layers have something. carried reports whether
// an inode is in the layer anyhow. Of the names that the old view had linked and the
// new one has not, the largest group that is still linked can stay out.
func (s stayed) parted(carried func(diff.Inode) bool) map[diff.Inode]bool {
	was := map[diff.Inode]int{} // how many inodes one was
	for id := range s {
		was[id.new]++
	}
	out := func(id inodes) bool { return was[id.new] > 1 || carried(id.new) }
	best := map[diff.Inode]*sameNames{}
	for id, n := range s {
		if !out(id) && n.before(best[id.old]) {
			best[id.old] = n
		}
	}
	parted := map[diff.Inode]bool{}
	for id, n := range s {
		if out(id) || best[id.old] != n {
			parted[id.new] = parted[id.new] || n.lower
		}
	}
	return parted
}

// before reports whether n rather than m stays out of the layer.
func (n *sameNames) before(m *sameNames) bool {
	if m == nil || n.count != m.count {
		return m == nil || n.count > m.count
	}
	return diff.ComparePaths(n.first, m.first) < 0
}
