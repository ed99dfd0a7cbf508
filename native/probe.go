package native

import (
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// probe is what one layer directory has at one name. The marks are read when
// they are asked for, once.
type probe struct {
	ref      inode.Ref
	layer    int // 0: the upper, or the index
	absent   bool
	whiteout bool
	indexed  bool // it is an upper directory with an entry in the index

	dir      *fswalk.Dir
	opaque   memo[bool]
	redir    memo[string]
	metacopy memo[bool]
}

type memo[T any] struct {
	known bool
	value T
}

func (m *memo[T]) get(read func() (T, error)) (value T, err error) {
	if !m.known {
		if m.value, err = read(); err != nil {
			return value, err
		}
		m.known = true
	}
	return m.value, nil
}

// probe looks at name in dir, which is in a layer or, for layer 0, in the index.
func (l *lookup) probe(layer int, dir *fswalk.Dir, name string) (*probe, error) {
	for _, p := range l.probes.all[:l.probes.used] {
		if p.ref.Dir == dir && p.ref.Name == name {
			return p, nil
		}
	}
	p := l.probes.new()
	p.layer = layer
	p.ref.Dir, p.ref.Name, p.ref.Lens = dir, name, l.layers[layer].lens
	if err := dir.Use(func(fd int) error { return p.look(l, fd) }); err != nil {
		if l.layers[layer].overlay {
			err = inode.Refusal(err)
		}
		return nil, l.drop(err)
	}
	return p, nil
}

// look looks at the name in its directory, fd.
func (p *probe) look(l *lookup, fd int) error {
	dir, name := p.ref.Dir, p.ref.Name
	if l.marks.Fuse && whiteout.IsFuseMark(name) {
		p.absent = true
		return nil
	}
	switch err := sys.StatAt(fd, name, sys.StatAll, &p.ref.Stat); {
	case err != nil && notFound(err):
		return p.missing(l.marks, fd)
	case err != nil:
		return dir.Wrap("statx", name, err)
	case p.ref.Stat.MountRoot && !l.isTrap(&p.ref):
		return hidden(dir, name)
	}
	var err error
	if p.whiteout, err = isWhiteout(l.marks, fd, name, &p.ref.Stat); err != nil || p.whiteout {
		return dir.WrapXattr(l.marks.Whiteout, name, err)
	}
	return p.ref.Show(fd)
}

// missing looks for what marks a name that is not there.
func (p *probe) missing(marks *whiteout.Namespace, fd int) (err error) {
	if marks.Fuse {
		mark := whiteout.FuseWhiteout(p.ref.Name)
		p.whiteout, err = sys.Exists(fd, mark)
		err = p.ref.Dir.Wrap("statx", mark, err)
	}
	p.absent = !p.whiteout
	return err
}

// drop forgets the last probe, which failed with err.
func (l *lookup) drop(err error) error {
	l.probes.used--
	*l.probes.all[l.probes.used] = probe{}
	return err
}

// isWhiteout is [whiteout.Namespace.Is], as the running kernel sees it.
func isWhiteout(marks *whiteout.Namespace, dirfd int, name string, st *sys.Stat) (bool, error) {
	is, err := marks.Is(dirfd, name, st)
	return is && (st.Format() != sys.Regular || kernel.Running().XattrWhiteouts), err
}

// hidden says that name in dir can't be read because of a mount.
func hidden(dir *fswalk.Dir, name string) error {
	return &diff.UnsupportedError{
		Op:     "read " + dir.DisplayPath(name),
		Reason: "something is mounted there, inside a layer, and hides what the overlay sees; run as root",
	}
}

// child returns the directory that p is, always the same.
func (p *probe) child() *fswalk.Dir {
	if p.dir == nil {
		p.dir = p.ref.Child()
	}
	return p.dir
}

// xattr reads one attribute. Of a directory it is read by the descriptor that
// will be needed anyway.
func (p *probe) xattr(name string) (value []byte, ok bool, err error) {
	dir, entry := p.ref.Dir, p.ref.Name
	if p.ref.IsDir() {
		dir, entry = p.child(), ""
	}
	err = dir.Use(func(fd int) (err error) {
		value, ok, err = sys.FindXattr(fd, entry, name)
		return dir.WrapXattr(name, entry, err)
	})
	return value, ok, err
}

func (p *probe) isOpaque(l *lookup) (bool, error) {
	return p.opaque.get(func() (is bool, err error) {
		err = p.child().Use(func(fd int) error {
			is, err = l.marks.IsOpaqueDir(fd)
			return p.child().WrapXattr(l.marks.Opaque, "", err)
		})
		return is, err
	})
}

func (p *probe) isMetacopy(l *lookup) (bool, error) {
	if p.ref.Stat.Format() != sys.Regular || l.marks.Metacopy == "" {
		return false, nil
	}
	return p.metacopy.get(func() (bool, error) {
		value, ok, err := p.xattr(l.marks.Metacopy)
		if err != nil || !ok {
			return false, err
		}
		if err := whiteout.CheckMetacopy(value); err != nil && kernel.Running().Headers {
			return false, markError(&p.ref, l.marks.Metacopy, fmt.Sprintf("a value of %d bytes is malformed", len(value)), err)
		}
		return true, nil
	})
}

// redirect returns where p's redirect leads, "" if it has none.
func (p *probe) redirect(l *lookup) (string, error) {
	return p.redir.get(func() (string, error) {
		if l.marks.Redirect == "" {
			return "", nil
		}
		value, ok, err := p.xattr(l.marks.Redirect)
		if err != nil || !ok {
			return "", err
		}
		to, err := whiteout.ParseRedirect(value)
		if err != nil {
			return "", markError(&p.ref, l.marks.Redirect, fmt.Sprintf("the value %q is malformed", value), err)
		}
		return to, nil
	})
}

// MarkError says that an entry of a layer has a mark which the kernel refuses
// to follow: a lookup of the name through the mount fails with Err or, where
// only the data can't be had, opening it.
type MarkError struct {
	Path   string // of the entry, in its layer
	Xattr  string
	Reason string
	Err    error // a [syscall.Errno]
}

func (e *MarkError) Error() string {
	return fmt.Sprintf("%s of %s: %s: %v", e.Xattr, diff.QuotePath(e.Path), e.Reason, e.Err)
}

// Unwrap returns Err.
func (e *MarkError) Unwrap() error { return e.Err }

func markError(of *inode.Ref, xattr, reason string, err error) error {
	return inode.Refused{Err: &MarkError{Path: of.Dir.DisplayPath(of.Name), Xattr: xattr, Reason: reason, Err: err}}
}
