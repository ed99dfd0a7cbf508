package native

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// comparison compares what two views show at one name. Where a metacopy file's
// data is in the data-only layers it is looked up when it is needed: without
// it, the kernel fails on open and not before.
type comparison struct {
	inode.Pair
	lookup   *lookup
	from, to *object
}

func (c comparison) compare() (diff.What, error) { return inode.Compare(c.Old, c.New, c) }

// SameContent implements [diff.Parts].
func (c comparison) SameContent() (bool, error) {
	if c.from.sameContent(c.to) {
		return true, nil
	}
	var err error
	if c.OldData, err = c.lookup.content(c.from); err != nil {
		return false, err
	}
	if c.NewData, err = c.lookup.content(c.to); err != nil {
		return false, err
	}
	return c.Pair.SameContent()
}

// content returns the inode that has an object's content.
func (l *lookup) content(o *object) (*inode.Ref, error) {
	if o.blob == "" {
		return o.data, nil
	}
	for _, root := range l.data {
		ref, err := find(root, o.blob)
		if ref != nil || err != nil {
			return ref, err
		}
	}
	return nil, fmt.Errorf("find the data of %s: no data-only layer has it: %w", diff.QuotePath(o.meta.Dir.DisplayPath(o.meta.Name)),
		&fs.PathError{Op: "open", Path: diff.QuotePath(o.blob), Err: syscall.ENOENT})
}

// find returns the regular file at an absolute path below root, nil if there is
// none. As the kernel does, it follows no symbolic link and enters no mount; a
// ".." that stays below root is allowed.
func find(root *fswalk.Dir, path string) (*inode.Ref, error) {
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	above := []*fswalk.Dir{root}
	for i, name := range names {
		dir := above[len(above)-1]
		if name == ".." {
			if above = above[:len(above)-1]; len(above) == 0 {
				return nil, nil //nolint:nilnil // it leads out
			}
			continue
		}
		ref := &inode.Ref{Dir: dir, Name: name}
		switch err := dir.Stat(name, sys.StatAll, &ref.Stat); {
		case inode.Vanished(err):
			return nil, nil //nolint:nilnil // not here
		case err != nil:
			return nil, err
		case ref.Stat.MountRoot:
			return nil, nil //nolint:nilnil // as above
		case i == len(names)-1 && ref.Stat.Format() == sys.Regular:
			return ref, nil
		case !ref.IsDir():
			return nil, nil //nolint:nilnil // as above
		}
		above = append(above, ref.Child())
	}
	return nil, nil //nolint:nilnil // a directory
}
