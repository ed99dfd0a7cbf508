package layer

import "hash/maphash"

// names is the set of names that this layer has put into directories, so that its
// whiteouts spare them. A nil set has all names: in a directory that was empty
// everything is of this layer.
//
// A name is kept as a hash of 128 bits, with seeds that no layer can know. The
// inode number of a directory that this layer removed may come again, but only
// for one that this layer made, in which every name is its own.
type names struct {
	seeds [2]maphash.Seed
	set   map[[2]uint64]struct{}
}

func newNames(needed bool) *names {
	if !needed {
		return nil
	}
	return &names{[2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, map[[2]uint64]struct{}{}}
}

type nameKey struct {
	in   inode
	name string
}

func (n *names) key(in inode, name string) [2]uint64 {
	k := nameKey{in, name}
	return [2]uint64{maphash.Comparable(n.seeds[0], k), maphash.Comparable(n.seeds[1], k)}
}

func (n *names) add(in inode, name string) {
	if n != nil {
		n.set[n.key(in, name)] = struct{}{}
	}
}

func (n *names) has(in inode, name string) bool {
	if n == nil {
		return true
	}
	_, ok := n.set[n.key(in, name)]
	return ok
}
