package native

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
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

// content returns the inode that has an object's content, as far as the mount
// lets it be read.
func (l *lookup) content(o *object) (*inode.Ref, error) {
	data, err := l.provider(o)
	if err == nil && data != o.meta && l.features.Verity != diff.VerityOff {
		err = l.verify(o.meta, data)
	}
	return data, err
}

// verify fails as opening the metacopy file meta does on a mount with
// verity=on or require, if data has not the digest that meta names.
func (l *lookup) verify(meta, data *inode.Ref) error {
	var value []byte
	err := meta.Dir.Use(func(fd int) (err error) {
		value, _, err = sys.GetXattr(fd, meta.Name, l.marks.Metacopy)
		return meta.Dir.Wrap("getxattr "+l.marks.Metacopy, meta.Name, err)
	})
	if err != nil {
		return err
	}
	bad := func(reason string, err error) error {
		return markError(&hit{ref: *meta}, l.marks.Metacopy, reason, err)
	}
	algorithm, want, err := whiteout.ParseDigest(value)
	switch {
	case err != nil:
		return bad("its digest is malformed", err)
	case want == nil && l.features.Verity == diff.VerityRequire:
		return bad("it names no fs-verity digest, which verity=require asks for", syscall.EIO)
	case want == nil:
		return nil
	}
	file, err := data.Open()
	if err != nil {
		return err
	}
	defer sys.Close(file)
	gotAlgorithm, got, err := sys.MeasureVerity(file)
	if err != nil || gotAlgorithm != uint16(algorithm) || !bytes.Equal(got, want) {
		return bad("its data has not the fs-verity digest that it names", syscall.EIO)
	}
	return nil
}

// provider finds the inode that has an object's content.
func (l *lookup) provider(o *object) (*inode.Ref, error) {
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
