package inode

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Ref is an inode by the name that leads to it.
type Ref struct {
	Dir  *fswalk.Dir
	Name string
	Stat sys.Stat // as Lens shows it
	Lens *Lens
}

// IsDir reports whether the inode is a directory.
func (r *Ref) IsDir() bool { return r.Stat.Format() == sys.Directory }

// Same reports whether both names lead to one inode, which proves that they have one
// content. Two overlay mounts never share a device number, so inode numbers of two
// views are not mixed up here.
func (r *Ref) Same(o *Ref) bool { return r.Stat.Dev == o.Stat.Dev && r.Stat.Ino == o.Stat.Ino }

// ID returns the inode itself.
func (r *Ref) ID() diff.Inode { return diff.Inode{Dev: r.Stat.Dev, Ino: r.Stat.Ino} }

// Equal reports whether both names lead to one inode by one mount, which proves that
// what they show is equal in everything: an id-mapped mount shows other owners.
func (r *Ref) Equal(o *Ref) bool {
	return r.Same(o) && r.Stat.Mount == o.Stat.Mount && r.Lens == o.Lens
}

// Child returns the directory that r is.
func (r *Ref) Child() *fswalk.Dir { return r.Dir.Child(r.Name, r.Stat.Dev, r.Stat.Ino) }

// Entry returns the inode as an entry of a view.
func (r *Ref) Entry() diff.Entry {
	st := &r.Stat
	e := diff.Entry{
		Type: typeOf(st), Mode: st.Mode & 0o7777, UID: st.UID, GID: st.GID, Size: st.Size,
		Mtime:  diff.Time{Sec: st.Mtime.Sec, Nsec: st.Mtime.Nsec},
		Inode:  r.ID(),
		Nlinks: st.Nlink,
	}
	if e.Type == diff.Dir {
		e.Size = 0
	}
	if e.Type == diff.Char || e.Type == diff.Block {
		e.Rdev = st.Rdev
	}
	return e
}

func typeOf(st *sys.Stat) diff.Type {
	switch st.Format() {
	case sys.Directory:
		return diff.Dir
	case sys.Link:
		return diff.Symlink
	case sys.Char:
		return diff.Char
	case sys.Block:
		return diff.Block
	case sys.Fifo:
		return diff.Fifo
	case sys.Sock:
		return diff.Socket
	}
	return diff.File
}

// target returns the target of a symbolic link.
func (r *Ref) target() (target string, err error) {
	err = r.Dir.Use(func(fd int) (err error) {
		target, err = sys.ReadLinkAt(fd, r.Name)
		return r.Dir.Wrap("readlinkat", r.Name, err)
	})
	return target, err
}
