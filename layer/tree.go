package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

const (
	// openDirs bounds the directories that are open at once, with openDirsShare where
	// few descriptors are allowed. Consecutive entries share them, so few are enough.
	openDirs      = 32
	openDirsShare = 16
	// maxPath is PATH_MAX with its NUL; longer paths are walked in parts.
	maxPath  = 4096
	mostPath = 4 * maxPath // all that is walked: what is longer serves no honest layer
	maxLinks = 40          // as the kernel
)

// tree opens the directories of the tree by untrusted names. It is the one place
// that does: what comes out is a descriptor of a directory inside.
type tree struct {
	root *dir
	open []*dir // recently used last; without the root
	most int    // that may be open
	pin  *dir   // stays open while another is looked for
	made func(d *dir, name string, fd int) error
}

// dir is an open directory of the tree. It belongs to its tree, which may close it
// when another is looked for, unless it is pinned.
type dir struct {
	fd   int
	path string // by which it was found; "\x00" if that may be another by now
	id   inode
	// The times that the directory has when it is left: those of its entry, or
	// those it had before this layer changed what is in it.
	atime, mtime sys.Timespec
	changed      bool
	// inherits: new entries get its default ACL, which theirs must not keep.
	inherits bool
}

type inode struct{ dev, ino uint64 }

const forgotten = "\x00"

// newTree takes over the descriptor of the root directory. made is called with
// every directory that is made because an entry below it comes first.
func newTree(fd int, made func(d *dir, name string, fd int) error) (*tree, error) {
	t := &tree{made: made, most: sys.Descriptors(openDirs, openDirsShare)}
	root, err := newDir(fd, "")
	t.root = root
	return t, err
}

func newDir(fd int, path string) (*dir, error) {
	d := &dir{fd: fd, path: path}
	var st sys.Stat
	if err := sys.StatAt(fd, "", sys.StatAll, &st); err != nil {
		return d, pathError("statx", path, err)
	}
	d.id, d.mtime, d.atime.Nsec = inode{st.Dev, st.Ino}, st.Mtime, sys.OmitTime
	inherits, err := sys.HasXattr(fd, "", idmap.ACLDefault)
	if err != nil {
		return d, pathError("getxattr", path, err)
	}
	d.inherits = inherits
	return d, nil
}

// dir opens the directory at a path of [clean]; those that are missing are made
// if make says so. Symbolic links are followed as if the root of the tree were the
// root directory.
func (t *tree) dir(path string, make bool) (*dir, error) { return t.walk(path, make, maxLinks) }

func (t *tree) walk(path string, make bool, links int) (*dir, error) {
	from, rest := t.nearest(path)
	if rest == "" {
		return from, nil
	}
	fd, err := -1, error(syscall.ENAMETOOLONG)
	if len(path) > mostPath {
		return nil, dirError(path, err)
	}
	if len(path) < maxPath {
		fd, err = sys.OpenDirBelow(from.fd, rest, sys.NoLinks)
		if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EXDEV) { // EXDEV: ".." in the target of a link
			fd, err = sys.OpenDirBelow(t.root.fd, path, sys.InRoot)
		}
	}
	missing := errors.Is(err, fs.ErrNotExist) && make
	switch {
	case err == nil:
		return t.keep(fd, path)
	case missing, errors.Is(err, syscall.ENAMETOOLONG):
		parent, name := split(path)
		d, err := t.walk(parent, make, links)
		if err != nil {
			return nil, err
		}
		return t.step(d, path, name, make, links)
	}
	return nil, dirError(path, err)
}

// step opens, or makes, one name in a directory.
func (t *tree) step(d *dir, path, name string, make bool, links int) (*dir, error) {
	if name == ".." { // the kernel knows what is above, now that there is something
		fd, err := sys.OpenDirBelow(t.root.fd, path, sys.InRoot)
		if err != nil {
			return nil, dirError(path, err)
		}
		return t.keep(fd, path)
	}
	fd, err := sys.OpenDirBelow(d.fd, name, sys.NoLinks)
	switch {
	case err == nil:
		return t.keep(fd, path)
	case errors.Is(err, syscall.ELOOP): // to what is missing, or on a path too long for the kernel
		target, rerr := sys.ReadLinkAt(d.fd, name)
		if rerr != nil {
			return nil, pathError("readlink", path, rerr)
		}
		if links == 0 {
			return nil, dirError(path, err)
		}
		parent, _ := split(path)
		return t.walk(inRoot(parent, target), make, links-1)
	case errors.Is(err, fs.ErrNotExist) && make:
		if err := sys.MkdirAt(d.fd, name); err != nil {
			return nil, pathError("mkdir", path, err)
		}
		d.changed = true
		if fd, err = sys.OpenDirBelow(d.fd, name, sys.NoLinks); err != nil {
			break
		}
		if err := t.made(d, name, fd); err != nil {
			sys.Close(fd)
			return nil, fmt.Errorf("make the directory %s: %w", display(path), err)
		}
		return t.keep(fd, path)
	}
	return nil, dirError(path, err)
}

// nearest returns the open directory that is closest above path, and what of path
// is below it.
func (t *tree) nearest(path string) (from *dir, rest string) {
	from, rest = t.root, path
	for i := len(t.open) - 1; i >= 0; i-- {
		d := t.open[i]
		if below, ok := strings.CutPrefix(path, d.path); ok && len(below) < len(rest) && (below == "" || below[0] == '/') {
			from, rest = d, strings.TrimPrefix(below, "/")
			if below == "" {
				t.use(i)
				break
			}
		}
	}
	return from, rest
}

func (t *tree) use(i int) {
	d := t.open[i]
	copy(t.open[i:], t.open[i+1:])
	t.open[len(t.open)-1] = d
}

// keep takes over the descriptor of a directory. One directory is open once,
// whatever the names it was found by: else the times of one would undo the other's.
func (t *tree) keep(fd int, path string) (*dir, error) {
	d, err := newDir(fd, path)
	if err != nil {
		sys.Close(fd)
		return nil, err
	}
	if d.id == t.root.id {
		sys.Close(fd)
		return t.root, nil
	}
	for i, other := range t.open {
		if other.id == d.id {
			sys.Close(fd)
			other.path = path
			t.use(i)
			return other, nil
		}
	}
	t.open = append(t.open, d)
	if len(t.open) <= t.most {
		return d, nil
	}
	i := 0
	if t.open[0] == t.pin {
		i = 1
	}
	oldest := t.open[i]
	t.open = append(t.open[:i], t.open[i+1:]...)
	return d, oldest.leave()
}

// forget is called when a directory or symbolic link was removed: any path may
// lead elsewhere now.
func (t *tree) forget() {
	for _, d := range t.open {
		d.path = forgotten
	}
}

// leave leaves all directories. The root stays open, for whoever opened it.
func (t *tree) leave() error {
	errs := []error{t.root.setTimes()}
	for _, d := range t.open {
		errs = append(errs, d.leave())
	}
	t.open = nil
	return errors.Join(errs...)
}

// leave sets the directory's times and closes it.
func (d *dir) leave() error {
	defer sys.Close(d.fd)
	return d.setTimes()
}

func (d *dir) setTimes() error {
	if !d.changed {
		return nil
	}
	return pathError("utimensat", d.path, sys.SetTimesAt(d.fd, "", d.atime, d.mtime))
}

// pathError names a path of the tree as errors of package os do.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: display(path), Err: err}
}

func display(path string) string {
	if path == forgotten {
		return "a directory"
	}
	return quote("/" + path)
}

// quote is diff.QuotePath that leaves out the middle of what nobody would read.
func quote(unsafeName string) string {
	const most = 300
	if n := len(unsafeName); n > 2*most {
		return fmt.Sprintf("%s…(%d bytes)…%s", diff.QuotePath(unsafeName[:most]), n-2*most, diff.QuotePath(unsafeName[n-most:]))
	}
	return diff.QuotePath(unsafeName)
}

// dirError says why there is no directory at path.
func dirError(path string, err error) error {
	why := ""
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		why = " (an entry below what is no directory)"
	case errors.Is(err, syscall.EXDEV):
		why = " (something is mounted there: unmount it)"
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EPERM):
		why = " (openat2, Linux 5.6, is missing or forbidden by a seccomp filter: allow it)"
	}
	return pathError("open", path, fmt.Errorf("%w%s", err, why))
}
