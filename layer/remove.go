package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// remove removes whatever is at a place.
func (a *applier) remove(p place) error {
	err := a.prune(p, func(inode, string) bool { return false })
	p.d.changed = true
	return err
}

// prune removes what is at a place, with all that is below it, except the names
// that keep says and the directories that lead to them.
func (a *applier) prune(p place, keep func(in inode, name string) bool) error {
	var st sys.Stat
	if err := sys.StatAt(p.d.fd, p.name, sys.StatAll, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return p.error("statx", err)
	}
	spared := keep(p.d.id, p.name)
	if st.Format() != sys.Directory {
		if spared {
			return nil
		}
		p.d.changed = true
		if st.Format() == sys.Link {
			a.tree.forget()
		}
		return p.error("unlink", sys.UnlinkAt(p.d.fd, p.name))
	}
	a.tree.forget()
	fd, err := sys.OpenDirBelow(p.d.fd, p.name, sys.NoLinks)
	if err != nil {
		return dirError(p.path, err)
	}
	pr := pruner{keep: keep, stop: a.stop, path: p.path}
	if err := pr.run(fd); err != nil || pr.kept || spared {
		return err
	}
	p.d.changed = true
	return p.error("rmdir", sys.RmdirAt(p.d.fd, p.name))
}

// pruneBelow prunes all that is in the directory d.
func (a *applier) pruneBelow(d *dir, keep func(in inode, name string) bool) error {
	fd, err := sys.OpenDirBelow(d.fd, ".", sys.NoLinks)
	if err != nil {
		return dirError(d.path, err)
	}
	a.tree.forget()
	d.changed = true
	pr := pruner{keep: keep, stop: a.stop, path: d.path}
	return pr.run(fd)
}

// pruner empties one directory. It holds one descriptor however deep the tree is, and
// goes back up by "..", making sure that it leads to where it came from.
type pruner struct {
	keep func(in inode, name string) bool
	stop func() error
	path string // for errors
	kept bool   // something was kept; after run, in the whole tree
	up   []level
}

// level is a directory that is being emptied.
type level struct {
	id      inode
	name    string
	mtime   sys.Timespec
	dirs    []string // in it, not emptied yet
	kept    bool
	spared  bool // the directory's own name is kept
	changed bool
}

// run empties the directory fd and closes it.
func (p *pruner) run(fd int) (err error) {
	defer func() { sys.Close(fd) }()
	if err = p.enter(fd, "", true); err != nil {
		return err
	}
	for {
		if err = p.stop(); err != nil {
			return err
		}
		l := &p.up[len(p.up)-1]
		if n := len(l.dirs); n > 0 {
			name := l.dirs[n-1]
			l.dirs = l.dirs[:n-1]
			child, err := sys.OpenDirBelow(fd, name, sys.NoLinks)
			if err != nil {
				return p.error("open", name, err)
			}
			sys.Close(fd)
			fd = child
			if err := p.enter(fd, name, p.keep(l.id, name)); err != nil {
				return err
			}
			continue
		}
		if l.kept && l.changed {
			if err := sys.SetTimesAt(fd, "", sys.Timespec{Nsec: sys.OmitTime}, l.mtime); err != nil {
				return p.error("utimensat", "", err)
			}
		}
		if len(p.up) == 1 {
			p.kept = l.kept
			return nil
		}
		if fd, err = p.leave(fd); err != nil {
			return err
		}
	}
}

// enter removes all that is no directory in fd.
func (p *pruner) enter(fd int, name string, spared bool) error {
	var st sys.Stat
	if err := sys.StatAt(fd, "", sys.StatAll, &st); err != nil {
		return p.error("statx", name, err)
	}
	p.up = append(p.up, level{id: inode{st.Dev, st.Ino}, name: name, mtime: st.Mtime, spared: spared})
	l := &p.up[len(p.up)-1]
	var err error
	list := sys.ReadDir(fd, func(e sys.Dirent) bool {
		kind := e.Type
		if kind == sys.TypeUnknown {
			if err = sys.StatAt(fd, e.Name, sys.StatAll, &st); err == nil && st.Format() == sys.Directory {
				kind = sys.TypeDir
			}
		}
		switch {
		case err != nil:
		case kind == sys.TypeDir:
			l.dirs = append(l.dirs, strings.Clone(e.Name))
		case p.keep(l.id, e.Name):
			l.kept = true
		default:
			l.changed = true
			err = sys.UnlinkAt(fd, e.Name)
		}
		if errors.Is(err, fs.ErrNotExist) { // overlayfs lists names that it has not: whiteouts in its lowest layer
			err = nil
		}
		if err != nil {
			err = p.error("unlink", e.Name, err)
		}
		return err == nil
	})
	if err == nil && list != nil {
		err = p.error("getdents64", "", list)
	}
	return err
}

// leave goes back to the directory above fd, and removes fd if nothing in it is
// kept.
func (p *pruner) leave(fd int) (int, error) {
	l := p.up[len(p.up)-1]
	above, err := sys.OpenParent(fd)
	if err != nil {
		return fd, p.error("open", "..", err)
	}
	sys.Close(fd)
	p.up = p.up[:len(p.up)-1]
	to := &p.up[len(p.up)-1]
	var st sys.Stat
	if err := sys.StatAt(above, "", sys.StatAll, &st); err != nil {
		return above, p.error("statx", "..", err)
	}
	if (inode{st.Dev, st.Ino}) != to.id {
		return above, p.error("open", "..", fmt.Errorf("%w: it was moved while it was removed", syscall.ESTALE))
	}
	if l.kept || l.spared {
		to.kept = true
		return above, nil
	}
	to.changed = true
	return above, p.error("rmdir", l.name, sys.RmdirAt(above, l.name))
}

func (p *pruner) error(op, name string, err error) error {
	if err == nil {
		return nil
	}
	path := p.path
	for _, l := range p.up[min(1, len(p.up)):] {
		path += "/" + l.name
	}
	return pathError(op, path+"/"+name, err)
}
