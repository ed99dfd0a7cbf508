package native

import (
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// name is a name to compare.
type name struct {
	name    string
	inUpper bool
}

func (n name) String() string { return n.name }

// fuseNames returns what a directory of fuse-overlayfs lists: names instead of the marks
// that delete them, once each and in order.
func fuseNames(list []sys.Dirent) []sys.Dirent {
	if !slices.ContainsFunc(list, func(d sys.Dirent) bool { return whiteout.IsFuseMark(d.Name) }) {
		return list
	}
	var names []sys.Dirent
	for _, d := range list {
		if d.Name = whiteout.FuseName(d.Name); d.Name != "" {
			names = append(names, d)
		}
	}
	slices.SortStableFunc(names, func(a, b sys.Dirent) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(names, func(a, b sys.Dirent) bool { return a.Name == b.Name })
}

// union merges listings, of which the first is the upper directory's, into one
// without repetitions, in order.
func union(lists [][]sys.Dirent) []name {
	total := 0
	for _, list := range lists {
		total += len(list)
	}
	all := make([]name, 0, total)
	for i, list := range lists {
		for _, d := range list {
			all = append(all, name{name: d.Name, inUpper: i == 0})
		}
	}
	if len(all) == len(lists[0]) { // in order already
		return all
	}
	slices.SortStableFunc(all, func(a, b name) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b name) bool { return a.name == b.name })
}
