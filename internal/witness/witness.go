package witness

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Verdict is what was found out about one layer directory. The zero value is invalid.
type Verdict uint8

// The verdicts.
const (
	_        Verdict = iota
	Proven           // something in it is shown by the mount
	Refuted          // the mount would show something in it, and does not
	Unproven         // neither: it is empty, or wholly hidden
)

// String returns "proven", "refuted" or "unproven".
func (v Verdict) String() string {
	switch v {
	case Proven:
		return "proven"
	case Refuted:
		return "refuted"
	case Unproven:
		return "unproven"
	default:
		return "invalid"
	}
}

// Mount is a mounted overlay, by its root directory. It is not safe for concurrent use.
type Mount struct {
	root  int
	id    sys.Identity
	marks *whiteout.Namespace
	// index: hard links of lower files can be shown as one inode of the index.
	index bool
	// verifies: a directory is merged only with lower ones that its origin mark names.
	verifies bool
	layers   []*Layer
	// hint is the directory in which the last witness was: many layers of an image have
	// files in the same ones.
	hint string
	// uuids are those of the layers' file systems that were asked for, by device.
	uuids map[uint64][16]byte
}

// Open returns the mount whose root directory is open for reading as root, and that has
// these features. The descriptor stays the caller's.
func Open(root int, f diff.Features) (*Mount, error) {
	m := &Mount{root: root, marks: whiteout.NamespaceOf(f), index: f.Index, verifies: f.NFSExport, uuids: map[uint64][16]byte{}}
	return m, sys.IdentityAt(root, "", &m.id)
}

// Layer is a directory that was examined.
type Layer struct {
	Verdict Verdict
	// Evidence is the path of the entry that decided, "" if none did.
	Evidence string
	ID       sys.Identity
	// Owners are those of entries that the mount shows from this layer, each pair once. The
	// search for a witness meets them by the way; there may be others.
	Owners []Owner
	// Copied is an entry that was copied up and has another owner now: somebody changed it,
	// or the layer is id-mapped. Its Path is "" if there is none, or if another entry was
	// copied up with the owner that it has in the layer.
	Copied Owner
	kept   bool

	fd    int
	upper bool

	mount    *Mount
	mayCopy  bool
	copyings bool
}

// Owner is the owner of an entry as its layer stores it, and as the mount shows it: they
// differ where the layer is an id-mapped mount.
type Owner struct {
	Path               string
	UID, GID           uint32
	ShownUID, ShownGID uint32
}

// mostOwners is how many different owners of a layer are kept.
const mostOwners = 64

// owner keeps the owner of an entry whose inode the mount shows.
func (l *Layer) owner(path string, id, shown *sys.Identity) {
	o := Owner{path, id.UID, id.GID, shown.UID, shown.GID}
	if shown.Ctime != id.Ctime { // the mount shows the owner of the copy
		l.kept = l.kept || o.UID == o.ShownUID && o.GID == o.ShownGID
		if l.Copied = o; l.kept {
			l.Copied = Owner{}
		}
		return
	}
	for _, p := range l.Owners {
		if p.UID == o.UID && p.GID == o.GID && p.ShownUID == o.ShownUID && p.ShownGID == o.ShownGID {
			return
		}
	}
	if len(l.Owners) < mostOwners {
		l.Owners = append(l.Owners, o)
	}
}

// OwnersUnknown reports whether the search met no entry whose owner the mount shows as the
// layer stores it, and one that was copied up and has another owner now.
func (l *Layer) OwnersUnknown() bool { return len(l.Owners) == 0 && l.Copied.Path != "" }

// knows reports whether an entry with these owners was compared.
func (l *Layer) knows(id *sys.Identity) bool {
	return slices.ContainsFunc(l.Owners, func(o Owner) bool { return o.UID == id.UID && o.GID == id.GID })
}

// Close frees the layer.
func (l *Layer) Close() { sys.Close(l.fd) }

// Has reports whether h is the handle of the directory itself.
func (l *Layer) Has(h sys.Handle) bool {
	own, err := sys.HandleAt(l.fd, "")
	return err == nil && own == h
}

// Empty reports whether the directory has no entries.
func (l *Layer) Empty() bool {
	empty := true
	_ = sys.Rewind(l.fd)
	err := sys.ReadDirSome(l.fd, func(sys.Dirent) bool { empty = false; return false })
	return empty && err == nil
}

// fileSystem returns the UUID of the layer's file system, zero if it is not known.
func (l *Layer) fileSystem() [16]byte {
	uuid, asked := l.mount.uuids[l.ID.Dev]
	if !asked {
		uuid, _ = sys.FileSystemID(l.fd)
		l.mount.uuids[l.ID.Dev] = uuid
	}
	return uuid
}

func (l *Layer) copies() bool {
	if !l.mayCopy {
		l.mayCopy, l.copyings = true, sys.CopiesInodes(l.fd)
	}
	return l.copyings
}

// ID returns the identity of the mount's root.
func (m *Mount) ID() sys.Identity { return m.id }

// Close closes the layers.
func (m *Mount) Close() {
	for _, l := range m.layers {
		l.Close()
	}
	m.layers = nil
}

// Top examines the topmost layer of the overlay: the upper directory, or without one the
// first lower one. The root of the mount has its times, and where the mount tells, its
// handle.
//
// dir is an open directory, also with O_PATH; it stays the caller's. The caller gives the
// layer to [Mount.Keep] or closes it.
func (m *Mount) Top(dir int, upper bool) (*Layer, error) {
	l, err := m.open(dir, upper)
	if err != nil {
		return nil, err
	}
	if l.Verdict, err = m.top(l); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// RootHandle returns the handle of the topmost layer's directory, and false if the mount
// does not tell (before Linux 6.6).
func (m *Mount) RootHandle() (sys.Handle, bool) {
	h, err := sys.FIDAt(m.root, "")
	if err != nil {
		return h, false
	}
	origin, ok := whiteout.ParseMountHandle(h)
	return origin.Handle, ok
}

// Data examines a data-only layer. It has no names of its own in the mount, so it is not
// proven.
func (m *Mount) Data(dir int) (*Layer, error) {
	l, err := m.open(dir, false)
	if err != nil {
		return nil, err
	}
	l.Verdict = Unproven
	if l.ID.Dev == m.id.Dev {
		l.Verdict, l.Evidence = Refuted, "/"
	}
	return l, nil
}

// Keep makes l the next layer, below those that were kept before.
func (m *Mount) Keep(l *Layer) { m.layers = append(m.layers, l) }

// Replace makes l the layer at position i, of those kept, and closes the one that was
// there.
func (m *Mount) Replace(i int, l *Layer) {
	m.layers[i].Close()
	m.layers[i] = l
}

// Swap exchanges two of the layers that were kept.
func (m *Mount) Swap(i, j int) { m.layers[i], m.layers[j] = m.layers[j], m.layers[i] }

// Layers returns the layers that were kept, topmost first.
func (m *Mount) Layers() []*Layer { return m.layers }

// SameNumber reports whether the root of the mount has the inode number of the topmost
// layer, if overlayfs passes it through: all layers are on one file system (ovl_getattr).
func (m *Mount) SameNumber() bool {
	for _, l := range m.layers {
		if l.ID.Dev != m.layers[0].ID.Dev {
			return true
		}
	}
	return m.id.Mount == 0 || sameNumber(m.id.Ino, m.layers[0].ID.Ino)
}

func (m *Mount) top(l *Layer) (Verdict, error) {
	if l.ID.Dev == m.id.Dev { // the overlay itself covers its upper directory, and looks like it
		return Refuted, nil
	}
	for range 10 { // a process may be writing there
		var before, after sys.Identity
		if err := sys.IdentityAt(l.fd, "", &before); err != nil {
			return Refuted, err
		}
		root, _, err := m.look(m.root, "")
		if err != nil {
			return Refuted, err
		}
		if err := sys.IdentityAt(l.fd, "", &after); err != nil {
			return Refuted, err
		}
		stable := before.Ctime == after.Ctime
		if !stable {
			root.Ctime = before.Ctime
		}
		same, certain := m.same(&root, l, l.fd, "", &before)
		if same && stable {
			l.owner("/", &before, &root.Identity)
		}
		switch {
		case same && stable && certain:
			return Proven, nil
		case same && stable:
			return Unproven, nil
		case !same:
			return Refuted, nil
		}
	}
	return Unproven, nil
}

func (m *Mount) open(dir int, upper bool) (*Layer, error) {
	fd, err := sys.OpenDirAt(dir, ".")
	if err != nil {
		return nil, err
	}
	l := &Layer{fd: fd, upper: upper, mount: m}
	if err := sys.IdentityAt(fd, "", &l.ID); err != nil {
		sys.Close(fd)
		return nil, err
	}
	return l, nil
}

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
		m.hint = strings.Join(dir, "/")
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
	maxOwners = 8
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
	shown, err := sys.OpenDirBelow(s.m.root, s.m.hint, sys.NoLinks)
	if err != nil {
		return ""
	}
	defer sys.Close(shown)
	before := *s
	s.dirs = 1
	found := s.dir(below, shown, "/"+s.m.hint, maxDepth)
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
