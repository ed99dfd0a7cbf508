package witness

import (
	"cmp"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Lower examines a lower layer that lies below the first above layers that were kept. For
// dir and the result it is as [Mount.Top].
func (m *Mount) Lower(dir, above int) (*Layer, error) {
	l, err := m.open(dir, false)
	if err != nil {
		return nil, err
	}
	if l.ID.Dev == m.id.Dev {
		l.Verdict, l.Evidence = Refuted, "/"
		return l, nil
	}
	s := search{m: m, l: l, above: m.layers[:above], dirs: maxDirs, names: maxNames}
	l.Verdict, l.Evidence = s.run()
	if dir, _ := split(l.Evidence); l.Verdict == Proven {
		m.hintAt(strings.Join(dir, "/"))
	}
	return l, nil
}

// The bounds of a search. A usual layer has a witness among the first names.
const (
	maxDirs  = 48  // directories that are listed
	maxNames = 256 // entries that are compared
	maxDepth = 32
	// maxMissing is how many entries that the mount does not show are looked for above.
	maxMissing = 24
	// maxOwners is how many names are looked at after a witness was found, for their owners.
	maxOwners = 4
)

// search looks for a witness of one layer.
type search struct {
	m           *Mount
	l           *Layer
	above       []*Layer
	dirs, names int // that may still be read
	missing     []string
	proven      bool   // there is a witness; now owners alone are of interest
	uncertain   string // an entry that is alike, where a copy would be as well
}

func (s *search) run() (Verdict, string) {
	if path := s.hinted(); path != "" {
		return Proven, path
	}
	if path := s.dir(s.l.fd, s.m.root, "", 0); path != "" {
		return Proven, path
	}
	for _, path := range s.missing {
		if !s.m.hidden(s.above, path) && s.differs(path) {
			return Refuted, path
		}
	}
	return Unproven, s.uncertain
}

// hinted returns the path of a witness among the files of the hinted directory, "" if there
// is none. The bounds of the search are as before then.
func (s *search) hinted() string {
	if s.m.hint == "" {
		return ""
	}
	below, err := sys.OpenDirBelow(s.l.fd, s.m.hint, sys.NoLinks)
	if err != nil {
		return ""
	}
	defer sys.Close(below)
	if s.m.hinted < 0 {
		if s.m.hinted, err = sys.OpenDirBelow(s.m.root, s.m.hint, sys.NoLinks); err != nil {
			s.m.hinted = -1
			return ""
		}
	}
	before := *s
	s.dirs = 1
	found := s.dir(below, s.m.hinted, "/"+s.m.hint, maxDepth)
	if found == "" {
		*s = before
	}
	return found
}

// dir returns the path of a witness in a directory of the layer, "" if it has none.
func (s *search) dir(fd, merged int, path string, depth int) string {
	if s.dirs--; s.dirs < 0 {
		return ""
	}
	var dirs []string
	found := ""
	err := sys.ReadDirSome(fd, func(d sys.Dirent) bool {
		name := strings.Clone(d.Name)
		if d.Type == sys.TypeDir {
			dirs = append(dirs, name)
			return true
		}
		switch s.compare(fd, merged, path, name) {
		case witness:
			found = cmp.Or(found, path+"/"+name)
		case directory: // the file system does not say what its entries are
			dirs = append(dirs, name)
		}
		if found != "" {
			s.witnessed()
		}
		return s.names > 0
	})
	if err != nil || s.done() {
		return found
	}
	for _, name := range dirs {
		if s.dirs <= 0 || depth >= maxDepth || s.done() {
			break
		}
		found = cmp.Or(found, s.enter(fd, merged, path+"/"+name, name, depth+1))
	}
	// Directories last: most are merged, and the mount shows that of the topmost layer.
	for _, name := range dirs {
		if s.done() {
			break
		}
		if s.compare(fd, merged, path, name) == witness {
			found = cmp.Or(found, path+"/"+name)
			s.witnessed()
		}
	}
	return found
}

// witnessed notes that there is a witness. A few names more are looked at, for owners.
func (s *search) witnessed() {
	if !s.proven {
		s.names, s.proven = min(s.names, maxOwners), true
	}
}

// done reports whether the layer is proven, and the mount shows an owner that it stores. A
// witness that was copied up does not do for that: somebody may have changed its owner.
func (s *search) done() bool { return s.names <= 0 || s.proven && len(s.l.Owners) > 0 }

func (s *search) enter(fd, merged int, path, name string, depth int) string {
	below, err := sys.OpenDirAt(fd, name)
	if err != nil {
		return ""
	}
	defer sys.Close(below)
	shown, err := sys.OpenDirAt(merged, name)
	if err != nil {
		return ""
	}
	defer sys.Close(shown)
	// If something is mounted there, compare sees that of each entry.
	return s.dir(below, shown, path, depth)
}

// outcome of a comparison.
type outcome uint8

const (
	nothing   outcome = iota
	witness           // the mount shows this inode
	directory         // it is a directory, and no witness
)

func (s *search) compare(fd, merged int, path, name string) outcome {
	if s.names--; s.names < 0 {
		return nothing
	}
	var id sys.Identity
	if sys.IdentityAt(fd, name, &id) != nil || id.Whiteout || s.proven && s.l.knows(&id) {
		return nothing
	}
	e, ok, err := s.m.look(merged, name)
	if err == nil && ok {
		same, certain := s.m.same(&e, s.l, fd, name, &id)
		if same {
			s.l.owner(path+"/"+name, &id, &e.Identity)
		}
		if same && certain {
			return witness
		}
		if same {
			s.uncertain = path + "/" + name
			ok = false
		}
	}
	if (err == nil && ok || errors.Is(err, fs.ErrNotExist)) && len(s.missing) < maxMissing {
		s.missing = append(s.missing, path+"/"+name)
	}
	if id.Format() == sys.Directory {
		return directory
	}
	return nothing
}

// differs reports whether the mount, in which no layer above hides path, still shows
// something else there than the layer has.
func (s *search) differs(path string) bool {
	dir, name := split(path)
	fd, err := descend(s.l.fd, dir)
	if err != nil {
		return false
	}
	defer sys.Close(fd)
	var id sys.Identity
	if sys.IdentityAt(fd, name, &id) != nil || s.m.index && id.Nlink > 1 && id.Format() != sys.Directory {
		return false
	}
	if id.Format() == sys.Regular && s.special(fd, name) {
		return false
	}
	merged, err := s.m.descend(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true
	}
	if err != nil {
		return false
	}
	defer sys.Close(merged)
	e, ok, err := s.m.look(merged, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil || !ok:
		return false
	case id.Format() == sys.Directory: // of a merged one, the times may be another layer's
		return e.Format() != sys.Directory
	}
	same, _ := s.m.same(&e, s.l, fd, name, &id)
	return !same
}

// special reports whether a regular file is a whiteout or stands for another file.
func (s *search) special(fd int, name string) bool {
	for _, mark := range []string{s.m.marks.Whiteout, s.m.marks.Metacopy} {
		if is, err := sys.HasXattr(fd, name, mark); is || err != nil {
			return true
		}
	}
	return false
}
