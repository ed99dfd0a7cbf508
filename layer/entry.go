package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// entry applies one entry of the archive.
func (a *applier) entry(ctx context.Context, h *tar.Header, content io.Reader) error {
	path, err := clean(h.Name)
	if err != nil {
		return err
	}
	role, hidden, err := roleOf(path)
	if err != nil {
		return err
	}
	switch role {
	case metaName:
		a.left.out("aufs")
		return nil
	case opaqueName:
		return a.opaque(path)
	case whiteoutName:
		return a.whiteout(path, hidden)
	}
	m, err := a.metadata(h)
	if err != nil {
		return err
	}
	if path == "" {
		return a.rootEntry(h, m)
	}
	parent, name := split(path)
	d, err := a.tree.dir(parent, true)
	if err != nil {
		return err
	}
	p := place{d, name, path}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		err = a.file(ctx, p, h, m, content)
	case tar.TypeDir:
		err = a.directory(p, m)
	case tar.TypeLink:
		err = a.link(p, h.Linkname)
	case tar.TypeSymlink:
		err = a.special(p, m, func() error { return pathError("symlink", path, sys.SymlinkAt(h.Linkname, d.fd, name)) })
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = a.device(p, m, h)
	default:
		return fmt.Errorf("entries of type %q are none of a layer's", h.Typeflag)
	}
	if err == nil {
		a.ours.add(d.id, name)
	}
	return err
}

// place is where an entry goes.
type place struct {
	d    *dir
	name string
	path string
}

func (p place) error(op string, err error) error { return pathError(op, p.path, err) }

func (a *applier) rootEntry(h *tar.Header, m meta) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root can only be a directory")
	}
	return a.setDir(a.tree.root, m)
}

// put calls make until it does not find something in its place.
func (a *applier) put(p place, make func() error) error {
	err := make()
	for try := 0; errors.Is(err, fs.ErrExist) && try < 3; try++ {
		if err := a.remove(p); err != nil {
			return err
		}
		err = make()
	}
	p.d.changed = true
	return err
}

func (a *applier) file(ctx context.Context, p place, h *tar.Header, m meta, content io.Reader) error {
	fd := -1
	err := a.files.open(func() error {
		return a.put(p, func() (err error) {
			fd, err = sys.CreateAt(p.d.fd, p.name)
			return p.error("open", err)
		})
	})
	if err != nil {
		return err
	}
	n, err := a.files.fill(ctx, &file{fd: fd, path: p.path, size: h.Size, meta: m, inherits: p.d.inherits}, content)
	a.out.Bytes += n
	return err
}

// directory makes a directory, or takes the one that is there. One in the place
// of something else hides what lower layers have there.
func (a *applier) directory(p place, m meta) error {
	var st sys.Stat
	err := sys.StatAt(p.d.fd, p.name, sys.StatAll, &st)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.error("statx", err)
	}
	made := !there || st.Format() != sys.Directory
	if made {
		if err := a.put(p, func() error { return p.error("mkdir", sys.MkdirAt(p.d.fd, p.name)) }); err != nil {
			return err
		}
	}
	fd, err := sys.OpenDirBelow(p.d.fd, p.name, sys.NoLinks)
	if err != nil {
		return dirError(p.path, err)
	}
	if made && p.d.inherits {
		err = dropACLs(fd)
	}
	d, kerr := a.tree.keep(fd, p.path)
	if err = errors.Join(p.error("removexattr", err), kerr); err != nil {
		return err
	}
	if made && there && a.opts.Form == Overlay {
		if err := a.markOpaque(d); err != nil {
			return err
		}
	}
	return a.setDir(d, m)
}

// adopt gives a directory that no entry has made so far the metadata of one.
func (a *applier) adopt(d *dir, name string, fd int) error {
	uid, err := idmap.User(a.ids, 0)
	if err != nil {
		return err
	}
	gid, err := idmap.Group(a.ids, 0)
	if err != nil {
		return err
	}
	if d.inherits {
		if err := dropACLs(fd); err != nil {
			return err
		}
	}
	a.ours.add(d.id, name)
	return errors.Join(sys.ChownAt(fd, "", uid, gid), sys.ChmodAt(fd, "", 0o755))
}

// dropACLs takes off what a new directory got from its parent.
func dropACLs(fd int) error {
	return errors.Join(sys.RemoveXattr(fd, "", idmap.ACLAccess), sys.RemoveXattr(fd, "", idmap.ACLDefault))
}

// link makes one more name of what is there, which must be in the tree.
func (a *applier) link(p place, unsafeTarget string) error {
	path, err := clean(unsafeTarget)
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", quote(unsafeTarget), err)
	}
	a.tree.pin = p.d // a long path may take more directories than stay open
	defer func() { a.tree.pin = nil }()
	parent, name := split(path)
	from, err := a.tree.dir(parent, false)
	var st, now sys.Stat
	if err == nil {
		err = pathError("statx", path, sys.StatAt(from.fd, name, sys.StatAll, &st))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("hard link to %s, which is not in the tree (a link comes after what it leads to): %w", quote(unsafeTarget), err)
	case err != nil:
		return fmt.Errorf("hard link to %s: %w", quote(unsafeTarget), err)
	case name == "" || st.Format() == sys.Directory:
		return fmt.Errorf("hard link to %s, which is a directory: %w", quote(unsafeTarget), syscall.EPERM)
	}
	if a.opts.Form == Overlay {
		if is, err := a.marks.Is(from.fd, name, &st); err != nil || is {
			return fmt.Errorf("hard link to %s, which is a whiteout: %w", quote(unsafeTarget), errors.Join(err, fs.ErrNotExist))
		}
	}
	if sys.StatAt(p.d.fd, p.name, sys.StatInode, &now) == nil && now.Dev == st.Dev && now.Ino == st.Ino {
		return nil
	}
	return a.put(p, func() error { return p.error("link", sys.LinkAt(from.fd, name, p.d.fd, p.name)) })
}

func (a *applier) device(p place, m meta, h *tar.Header) error {
	format := map[byte]uint32{tar.TypeChar: sys.Char, tar.TypeBlock: sys.Block, tar.TypeFifo: sys.Fifo}[h.Typeflag]
	rdev := uint64(0)
	if format != sys.Fifo {
		if a.opts.SkipDevices {
			a.left.out("devices")
			return a.remove(p) // it would have replaced what is there
		}
		var ok bool
		rdev, ok = sys.MakeDevice(h.Devmajor, h.Devminor)
		if !ok {
			return fmt.Errorf("%d:%d is no device number", h.Devmajor, h.Devminor)
		}
		if format == sys.Char && rdev == 0 {
			return errors.New("a character device 0:0 is a whiteout of overlayfs, which no layer can have")
		}
	}
	err := a.special(p, m, func() error { return p.error("mknod", sys.MknodAt(p.d.fd, p.name, format|0o600, rdev)) })
	if format != sys.Fifo && errors.Is(err, syscall.EPERM) {
		err = fmt.Errorf("%w (making devices needs root outside of user namespaces, or choose to skip them)", err)
	}
	return err
}

// special makes what is neither a file nor a directory.
func (a *applier) special(p place, m meta, make func() error) error {
	if err := a.put(p, make); err != nil {
		return err
	}
	if p.d.inherits {
		if err := sys.RemoveXattr(p.d.fd, p.name, idmap.ACLAccess); err != nil {
			return p.error("removexattr", err)
		}
	}
	return m.setAt(p)
}
