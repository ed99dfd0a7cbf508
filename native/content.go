package native

import (
	"bytes"
	"errors"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// SameData implements [inode.Data].
func (l *lookup) SameData() bool {
	// With verity, the same data may be refused to one of two metacopy files.
	return l.from.sameContent(l.to) && (l.features.Verity == diff.VerityOff || l.from.meta.Same(l.to.meta))
}

// Contents implements [inode.Data].
func (l *lookup) Contents() (from, to *inode.Ref, err error) {
	if from, err = l.content(l.from); err != nil {
		return nil, nil, err
	}
	to, err = l.content(l.to)
	return from, to, err
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
		return meta.Dir.WrapXattr(l.marks.Metacopy, meta.Name, err)
	})
	if err != nil {
		return err
	}
	bad := func(reason string, err error) error {
		return markError(meta, l.marks.Metacopy, reason, err)
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
	var errno syscall.Errno
	for _, root := range l.blobs {
		ref, err := find(root, o.blob)
		switch {
		case err == nil:
			return ref, nil
		case !errors.As(err, &errno) || !elsewhere(errno):
			return nil, err
		}
	}
	return nil, markError(o.data, l.marks.Redirect, "no data-only layer has a file at "+diff.QuotePath(o.blob), errno)
}

// elsewhere reports whether an errno says that a data-only layer hasn't the
// file, so that the next one is asked.
func elsewhere(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.EXDEV, syscall.ENAMETOOLONG:
		return true
	}
	return false
}

// pathMax is PATH_MAX: the kernel looks up no longer path in a data-only layer.
const pathMax = 4096

// find returns the regular file at an absolute path below root. As the kernel
// does, it follows no symbolic link and enters no mount; a ".." that stays below
// root is allowed. Errors have the kernel's errno.
func find(root *fswalk.Dir, path string) (*inode.Ref, error) {
	if len(path) >= pathMax {
		return nil, syscall.ENAMETOOLONG
	}
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	above := []*fswalk.Dir{root}
	for i, name := range names {
		dir := above[len(above)-1]
		switch name {
		case ".":
			continue
		case "..":
			if above = above[:len(above)-1]; len(above) == 0 {
				return nil, syscall.EXDEV // it leads out
			}
			continue
		}
		ref := &inode.Ref{Dir: dir, Name: name}
		if err := dir.Stat(name, sys.StatAll, &ref.Stat); err != nil {
			return nil, err
		}
		final := i == len(names)-1
		switch {
		case ref.Stat.MountRoot:
			return nil, hidden(dir, name)
		case final && ref.Stat.Format() == sys.Regular:
			return ref, nil
		case !final && ref.Stat.Format() == sys.Link:
			return nil, syscall.ELOOP
		case !final && !ref.IsDir():
			return nil, syscall.ENOTDIR
		}
		above = append(above, ref.Child())
	}
	return nil, syscall.ENOENT // what is there is no file
}
