package witness

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// The bounds of [Mount.Orphans].
const (
	orphanDirs  = 64
	orphanNames = 1024
)

// Orphan is an entry that the overlay has and that none of the layers explains.
type Orphan struct {
	Path string
	// Handle identifies the inode in its layer; Known is false if the mount does not tell.
	Handle sys.Handle
	Known  bool
	Dir    bool
	seen   seen
}

// Orphans looks for entries that the mount shows and none of the layers given so far
// has, and for whiteouts of the upper layer that hide nothing in them. There are none if
// the layers are the right ones, so one of them is not, or one is missing. The search is
// bounded; at most most are returned.
func (m *Mount) Orphans(most int) []Orphan {
	o := orphans{m: m, most: most, dirs: orphanDirs, names: orphanNames}
	o.whiteouts()
	o.walk()
	return o.found
}

type orphans struct {
	m           *Mount
	most        int
	dirs, names int
	found       []Orphan
}

type orphanDir struct {
	path  string
	names []string
}

// walk goes through the mount, breadth first.
func (o *orphans) walk() {
	queue := []orphanDir{{}}
	for len(queue) > 0 && o.dirs > 0 && len(o.found) < o.most {
		at := queue[0]
		queue = queue[1:]
		o.dirs--
		fd, err := o.m.descend(at.names)
		if err != nil {
			continue
		}
		_ = sys.ReadDirSome(fd, func(d sys.Dirent) bool {
			if o.names--; o.names < 0 || len(o.found) >= o.most {
				return false
			}
			name := strings.Clone(d.Name)
			if o.entry(fd, at, name) {
				queue = append(queue, orphanDir{at.path + "/" + name, append(at.names[:len(at.names):len(at.names)], name)})
			}
			return true
		})
		sys.Close(fd)
	}
}

// entry examines one entry, and reports whether it is a directory to be walked.
func (o *orphans) entry(fd int, at orphanDir, name string) bool {
	e, ok, err := o.m.look(fd, name)
	if err != nil || !ok {
		return false
	}
	dir := e.Format() == sys.Directory
	if (e.known && e.real.Upper) || o.explained(at.names, name, &e) {
		return dir
	}
	o.found = append(o.found, Orphan{Path: at.path + "/" + name, Handle: e.real.Handle, Known: e.known, Dir: dir, seen: e})
	return false
}

// explained reports whether one of the layers has the entry, or may have it at another
// path: through a redirect, or as a file that was renamed in the upper layer.
func (o *orphans) explained(dir []string, name string, e *seen) bool {
	for i, l := range o.m.layers {
		is, err := o.has(l, i, dir, name, e)
		if is || err != nil {
			return true
		}
	}
	return false
}

func (o *orphans) has(l *Layer, i int, dir []string, name string, e *seen) (bool, error) {
	at, err := sys.OpenDirAt(l.fd, ".")
	if err != nil {
		return false, err
	}
	defer func() { sys.Close(at) }()
	for _, d := range dir {
		next, err := sys.OpenDirAt(at, d)
		if err != nil {
			return false, unless(err, fs.ErrNotExist)
		}
		sys.Close(at)
		at = next
		if o.m.elsewhereMerged(at, "") {
			return true, nil
		}
	}
	var id sys.Identity
	if err := sys.IdentityAt(at, name, &id); err != nil {
		return false, unless(err, fs.ErrNotExist)
	}
	if o.m.elsewhereMerged(at, name) {
		return true, nil
	}
	switch {
	case i == 0 && l.upper && id.Whiteout:
		return false, nil
	case i == 0 && l.upper:
		return o.m.sourced(at, name, e)
	case !e.known: // before Linux 6.6 the name has to do
		return !id.Whiteout, nil
	}
	h, err := sys.HandleAt(at, name)
	return err != nil || h == e.real.Handle, nil
}

func unless(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// whiteouts looks for those in the root of the upper layer that hide nothing: the kernel
// makes one only where a lower layer has an entry (ovl_lower_positive).
func (o *orphans) whiteouts() {
	if len(o.m.layers) == 0 || !o.m.layers[0].upper {
		return
	}
	upper := o.m.layers[0]
	_ = sys.Rewind(upper.fd)
	_ = sys.ReadDirSome(upper.fd, func(d sys.Dirent) bool {
		var id sys.Identity
		name := strings.Clone(d.Name)
		if sys.IdentityAt(upper.fd, name, &id) != nil || !id.Whiteout {
			return true
		}
		for _, l := range o.m.layers[1:] {
			if !errors.Is(sys.IdentityAt(l.fd, name, &id), fs.ErrNotExist) {
				return true
			}
		}
		o.found = append(o.found, Orphan{Path: "/" + name})
		return len(o.found) < o.most
	})
}

// sourced reports whether one of the lower layers has the inode, at any path, that an entry
// of the upper layer was copied up from, or whether that is unknown.
//
// Before Linux 6.6 the mount does not show that inode. Then it is read from the origin
// attribute, which the kernel ignores where it leads to no inode (ovl_check_origin).
func (m *Mount) sourced(fd int, name string, e *seen) (bool, error) {
	if e.known {
		return m.decodes(e.real.Handle), nil
	}
	value, ok, err := sys.FindXattr(fd, name, m.marks.Origin)
	if err != nil || !ok {
		return true, err
	}
	origin, err := whiteout.ParseOrigin(value)
	if err != nil {
		return true, nil //nolint:nilerr // the kernel ignores it as well
	}
	alive := false
	for _, l := range m.layers {
		if differ(origin.FileSystem, l.fileSystem().uuid) {
			continue
		}
		if at, err := sys.OpenHandle(l.fd, origin.Handle); err == nil {
			sys.Close(at)
			alive = true
		}
	}
	return !alive || m.decodes(origin.Handle), nil
}

// decodes reports whether one of the lower layers has the inode of a handle at any path, or that
// can't be found out.
func (m *Mount) decodes(h sys.Handle) bool {
	for _, l := range m.layers[1:] {
		fd, err := sys.OpenHandle(l.fd, h)
		if errors.Is(err, syscall.ESTALE) {
			continue // not on this file system
		}
		if err != nil {
			return true
		}
		inside := within(l.fd, fd)
		sys.Close(fd)
		if inside {
			return true
		}
	}
	return false
}

// within reports whether what inner has open is below the directory outer, by the paths
// that /proc shows of both, or can't be said to be elsewhere.
func within(outer, inner int) bool {
	var id sys.Identity
	if sys.IdentityAt(inner, "", &id) != nil || id.Nlink > 1 && id.Format() != sys.Directory {
		return true
	}
	dir, err := sys.PathOf(outer)
	path, err2 := sys.PathOf(inner)
	if err != nil || err2 != nil || path == "/" {
		return true
	}
	return dir == "/" || strings.HasPrefix(path, dir+"/")
}

// elsewhere reports whether an inode is at no path in the lower layers, or at the given path
// in one of them: both contradict an order of layers in which another inode is at that path.
// It is false if that can't be found out.
func (m *Mount) elsewhere(h sys.Handle, path string) bool {
	for _, l := range m.layers {
		if l.upper {
			continue
		}
		fd, err := sys.OpenHandle(l.fd, h)
		if errors.Is(err, syscall.ESTALE) {
			continue
		}
		if err != nil {
			return false
		}
		inside := within(l.fd, fd)
		dir, err := sys.PathOf(l.fd)
		found, err2 := sys.PathOf(fd)
		sys.Close(fd)
		if err != nil || err2 != nil || inside && found != strings.TrimSuffix(dir, "/")+path {
			return false
		}
	}
	return true
}
