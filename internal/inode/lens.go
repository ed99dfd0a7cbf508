package inode

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Lens is how a mount shows the metadata of a layer. A nil Lens shows it as it is
// stored. Refs of one layer share one Lens.
type Lens struct {
	// IDs maps stored owners to shown ones, as an id-mapped mount does, in access
	// control lists and capabilities, too.
	IDs diff.IDMap
	// Override, unless nil, replaces what stands elsewhere: name in dirfd has an
	// attribute that says owner and mode. It runs before ids are mapped.
	Override func(dirfd int, name string, st *sys.Stat) error
	// Visible, unless nil, is for this layer what [Pair.Visible] is for all.
	Visible func(name string) (string, bool)
}

// Look fills in r.Stat as the view shows it. fd is the descriptor of r.Dir.
func (r *Ref) Look(fd int) error {
	if err := sys.StatAt(fd, r.Name, sys.StatAll, &r.Stat); err != nil {
		return r.Dir.Wrap("statx", r.Name, err)
	}
	return r.Show(fd)
}

// Show changes r.Stat, which a stat call filled in, to what the view shows.
func (r *Ref) Show(fd int) error {
	return r.Dir.Wrap("read the owner", r.Name, r.Lens.show(fd, r.Name, &r.Stat))
}

// Reload is [Ref.Look] that opens the directory.
func (r *Ref) Reload() error { return r.Dir.Use(r.Look) }

// show changes st, which a stat call returned for name in dirfd, to what the view shows.
func (l *Lens) show(dirfd int, name string, st *sys.Stat) error {
	if l == nil {
		return nil
	}
	if l.Override != nil {
		if err := l.Override(dirfd, name, st); err != nil {
			return err
		}
	}
	if !l.IDs.IsZero() {
		st.UID = shownID(l.IDs.Users, "uid", st.UID)
		st.GID = shownID(l.IDs.Groups, "gid", st.GID)
	}
	return nil
}

// shownID returns the id that an id-mapped mount shows. An id that this process's user
// namespace lacks stays what it is, so that [sys.KnowsOwner] still finds it.
func shownID(ranges []diff.IDRange, kind string, id uint32) uint32 {
	if sys.LacksID(kind, id) {
		return id
	}
	if host, ok := diff.HostID(ranges, id); ok {
		return host
	}
	return sys.OverflowID(kind)
}

// value returns an extended attribute as the view shows it.
func (l *Lens) value(name string, v []byte) ([]byte, error) {
	if l == nil || (name == idmap.ACLAccess || name == idmap.ACLDefault) && !kernel.MapsACLs() {
		return v, nil
	}
	return idmap.Shown(l.IDs, name, v)
}
