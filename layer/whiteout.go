package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// whiteout removes what lower layers have under the name that the entry at path
// is about. What this layer has put there stays, whichever came first.
func (a *applier) whiteout(path, name string) error {
	a.out.Whiteouts++
	parent, _ := split(path)
	d, err := a.tree.dir(parent, a.opts.Form == Overlay)
	if a.opts.Form == Plain && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil // where there is no directory, there is nothing to remove
	}
	if err != nil {
		return err
	}
	p := place{d, name, join(parent, name)}
	if a.ours != nil {
		if err := a.prune(p, a.ours.has); err != nil {
			return err
		}
	}
	if a.opts.Form == Plain {
		return nil
	}
	var st sys.Stat
	err = sys.StatAt(d.fd, name, sys.StatAll, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a.markRemoved(p)
	case err != nil:
		return p.error("statx", err)
	case st.Format() != sys.Directory:
		return nil // it hides what is below as well as a whiteout
	}
	fd, err := sys.OpenDirBelow(d.fd, name, sys.NoLinks)
	if err != nil {
		return dirError(p.path, err)
	}
	if d, err = a.tree.keep(fd, p.path); err != nil {
		return err
	}
	return a.markOpaque(d)
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}

// opaque removes what lower layers have in the directory that the entry at path is
// in.
func (a *applier) opaque(path string) error {
	a.out.Opaque++
	parent, _ := split(path)
	d, err := a.tree.dir(parent, a.opts.Form == Overlay)
	if a.opts.Form == Plain && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.ours != nil {
		if err := a.pruneBelow(d, a.ours.has); err != nil {
			return err
		}
	}
	if a.opts.Form == Plain {
		return nil
	}
	if d == a.tree.root {
		a.out.Inexpressible++
	}
	return a.markOpaque(d)
}

// markRemoved puts a whiteout. In an opaque directory it would mark nothing, and
// be listed where the directory is not merged.
func (a *applier) markRemoved(p place) error {
	value, _, err := sys.GetXattr(p.d.fd, "", a.marks.Opaque)
	if err != nil {
		return p.error("getxattr", err)
	}
	if whiteout.IsOpaque(value) {
		return nil
	}
	p.d.changed = true
	a.ours.add(p.d.id, p.name)
	if a.opts.Whiteouts != XattrWhiteout && a.out.WhiteoutsAs != XattrWhiteout {
		err := whiteout.MakeDevice(p.d.fd, p.name)
		if err == nil {
			a.out.WhiteoutsAs = DeviceWhiteout
		}
		if err == nil || a.opts.Whiteouts == DeviceWhiteout || !errors.Is(err, syscall.EPERM) {
			return p.error("mknod", err)
		}
	}
	a.out.WhiteoutsAs = XattrWhiteout
	return markError(p.path, a.marks.MakeFile(p.d.fd, p.name))
}

// markOpaque hides what lower layers have in a directory, and removes the whiteouts in
// it, which mark nothing any more.
func (a *applier) markOpaque(d *dir) error {
	if err := sys.Rewind(d.fd); err != nil {
		return pathError("lseek", d.path, err)
	}
	var err error
	list := sys.ReadDir(d.fd, func(e sys.Dirent) bool {
		var st sys.Stat
		if e.Type == sys.TypeDir {
			return true
		}
		is := false
		if err = sys.StatAt(d.fd, e.Name, sys.StatAll, &st); err == nil {
			if is, err = a.marks.Is(d.fd, e.Name, &st); is {
				d.changed = true
				err = sys.UnlinkAt(d.fd, e.Name)
			}
		}
		return err == nil
	})
	if err = errors.Join(err, list); err != nil {
		return pathError("remove whiteouts", d.path, err)
	}
	return markError(d.path, a.marks.MakeOpaque(d.fd))
}

// markError adds what helps.
func markError(path string, err error) error {
	if err == nil {
		return nil
	}
	return pathError("mark", path, fmt.Errorf("%w%s", err, xattrRemedy(err)))
}
