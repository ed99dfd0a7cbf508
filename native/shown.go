package native

// shown is a list of lower directories which are directories of the new view, each in
// the one before. To overlayfs the topmost lower directory is the inode
// (ovl_hash_bylower, Linux 6.18), and one inode can't be two directories: the second
// lookup is ESTALE. It depends on the order which of two is the second, unless one is
// above the other.
type shown struct {
	dir   part
	above *shown
}

// and returns s with the lower directory that o is.
func (s *shown) and(o *object) *shown {
	if o.own {
		return s
	}
	return &shown{o.dirs.lowers[0], s}
}

// has reports whether the lower directory that o is, is in s.
func (s *shown) has(o *object) bool {
	if o == nil || len(o.dirs.lowers) == 0 || o.own && o.dirs.upper != nil {
		return false
	}
	for ; s != nil; s = s.above {
		if s.dir.same(o.dirs.lowers[0]) {
			return true
		}
	}
	return false
}
