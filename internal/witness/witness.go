package witness

import (
	"slices"

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
	// files in the same ones. hinted is the mount's, open for reading, -1 if none is.
	hint   string
	hinted int
	// systems are the layers' file systems that were asked for, by device.
	systems map[uint64]fileSystem
}

// fileSystem is what is known of a file system.
type fileSystem struct {
	uuid    [16]byte // zero if it is not known
	numbers bool     // see [sys.NumbersInodes]
}

// Open returns the mount whose root directory is open for reading as root, and that has
// these features. The descriptor stays the caller's.
func Open(root int, f diff.Features) (*Mount, error) {
	m := &Mount{root: root, marks: whiteout.NamespaceOf(f), index: f.Index, verifies: f.NFSExport, hinted: -1, systems: map[uint64]fileSystem{}}
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

// Overlaps reports whether the directory is another layer's, or inside, or has another
// lower layer inside: no overlay is mounted of such layers (Linux 5.2, 146d62e5a586). An
// upper directory may be inside a lower one.
func (l *Layer) Overlaps(other *Layer) bool {
	return l.inside(other) || !other.upper && other.inside(l)
}

// inside reports whether the directory is that of outer or below it.
func (l *Layer) inside(outer *Layer) bool {
	id, at := l.ID, -1
	defer func() { sys.Close(at) }()
	for from := l.fd; !id.SameInode(&outer.ID); from = at {
		up, err := sys.OpenAnyAt(from, "..")
		sys.Close(at)
		if at = up; err != nil {
			return false
		}
		var above sys.Identity
		if sys.IdentityAt(at, "", &above) != nil || above.SameInode(&id) { // the root
			return false
		}
		id = above
	}
	return true
}

// Empty reports whether the directory has no entries.
func (l *Layer) Empty() bool {
	empty := true
	_ = sys.Rewind(l.fd)
	err := sys.ReadDirSome(l.fd, func(sys.Dirent) bool { empty = false; return false })
	return empty && err == nil
}

// fileSystem returns what is known of the layer's file system.
func (l *Layer) fileSystem() fileSystem {
	known, asked := l.mount.systems[l.ID.Dev]
	if !asked {
		known.uuid, _ = sys.FileSystemID(l.fd)
		known.numbers = sys.NumbersInodes(l.fd)
		l.mount.systems[l.ID.Dev] = known
	}
	return known
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
	m.hintAt("")
}

// hintAt makes dir the hint.
func (m *Mount) hintAt(dir string) {
	if dir == m.hint {
		return
	}
	if m.hinted >= 0 {
		sys.Close(m.hinted)
	}
	m.hint, m.hinted = dir, -1
}

// Top examines the topmost layer of the overlay: the upper directory, or without one the
// first lower one. The root of the mount has its times, and where the mount tells, its
// handle.
//
// dir is a directory that is open for reading. It is the layer's from now on, and closed
// if there is an error. The caller gives the layer to [Mount.Keep] or closes it.
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
// proven. For dir it is as [Mount.Top].
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
	l := &Layer{fd: dir, upper: upper, mount: m}
	if err := sys.IdentityAt(dir, "", &l.ID); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
