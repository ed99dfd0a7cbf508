package witness

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

var errMounted = errors.New("something is mounted there")

// split returns the names of the directories above a path, and its last name.
func split(path string) (dir []string, name string) {
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	return names[:len(names)-1], names[len(names)-1]
}

// descend opens a directory below fd, following no link.
func descend(fd int, names []string) (int, error) {
	return walk(fd, names, func(int) error { return nil })
}

// descend opens a directory of the mount, and nothing that is mounted inside.
func (m *Mount) descend(names []string) (int, error) {
	return walk(m.root, names, func(fd int) error {
		var id sys.Identity
		err := sys.IdentityAt(fd, "", &id)
		if err == nil && id.Mount != m.id.Mount {
			err = errMounted
		}
		return err
	})
}

func walk(fd int, names []string, check func(fd int) error) (int, error) {
	at, err := sys.OpenDirAt(fd, ".")
	for _, name := range names {
		if err != nil {
			return -1, err
		}
		next, e := sys.OpenDirAt(at, name)
		sys.Close(at)
		if at, err = next, e; err == nil {
			if err = check(at); err != nil {
				sys.Close(at)
			}
		}
	}
	if err != nil {
		return -1, err
	}
	return at, nil
}

// hidden reports whether one of the layers hides what a layer below has at path, or can't
// be ruled out to.
func (m *Mount) hidden(layers []*Layer, path string) bool {
	dir, name := split(path)
	for _, l := range layers {
		if m.hides(l, dir, name) {
			return true
		}
	}
	return false
}

func (m *Mount) hides(l *Layer, dir []string, name string) bool {
	at, err := sys.OpenDirAt(l.fd, ".")
	if err != nil {
		return true
	}
	defer func() { sys.Close(at) }()
	for _, d := range dir {
		next, err := sys.OpenDirAt(at, d)
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err != nil { // no directory, or not to be read
			return true
		}
		sys.Close(at)
		at = next
		if m.marked(at, "") {
			return true
		}
	}
	var id sys.Identity
	return !errors.Is(sys.IdentityAt(at, name, &id), fs.ErrNotExist)
}

// marked reports whether a directory hides what is below it at its path, or may do so: it
// is opaque, or merged with other directories than those of its path.
func (m *Mount) marked(fd int, name string) bool {
	value, _, err := sys.FindXattr(fd, name, m.marks.Opaque)
	if err != nil || whiteout.IsOpaque(value) {
		return true
	}
	return m.elsewhereMerged(fd, name)
}

// elsewhereMerged reports whether a directory may be merged with other directories than
// those of its path: by a redirect, or since nfs_export=on holds them against its origin
// (ovl_verify_lower, Linux 4.16).
func (m *Mount) elsewhereMerged(fd int, name string) bool {
	redirected, err := sys.HasXattr(fd, name, m.marks.Redirect)
	if redirected || err != nil || !m.verifies {
		return redirected || err != nil
	}
	verified, err := sys.HasXattr(fd, name, m.marks.Origin)
	return verified || err != nil
}
