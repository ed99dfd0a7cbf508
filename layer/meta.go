package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// meta is the metadata of an entry as it is to be set.
type meta struct {
	uid, gid     uint32
	mode         uint32 // st_mode & 07777
	xattrs       []attribute
	atime, mtime sys.Timespec
}

type attribute struct {
	name  string
	value []byte
}

// paxXattr begins the names of records that have extended attributes.
const paxXattr = "SCHILY.xattr."

// textACLs are the records of GNU tar --acls, which name users of the system that
// wrote them, and the attributes that say the same in numbers.
var textACLs = map[string]string{"SCHILY.acl.access": idmap.ACLAccess, "SCHILY.acl.default": idmap.ACLDefault}

func (a *applier) metadata(h *tar.Header) (m meta, err error) {
	if m.uid, err = idmap.User(a.ids, int64(h.Uid)); err != nil {
		return m, err
	}
	if m.gid, err = idmap.Group(a.ids, int64(h.Gid)); err != nil {
		return m, err
	}
	m.mode = uint32(h.Mode & 0o7777)
	m.mtime = timespec(h.ModTime)
	m.atime = m.mtime
	if !h.AccessTime.IsZero() {
		m.atime = timespec(h.AccessTime)
	}
	if len(h.PAXRecords) > 0 && h.Typeflag != tar.TypeLink {
		err = a.xattrs(h, &m)
	}
	return m, err
}

func timespec(t time.Time) sys.Timespec {
	return sys.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// xattrs adds the extended attributes of the header in the order in which they are set:
// by name, but capabilities last, which other calls would take away.
func (a *applier) xattrs(h *tar.Header, m *meta) error {
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, paxXattr)
		if acl, text := textACLs[record]; text && h.PAXRecords[paxXattr+acl] == "" {
			a.out.Skipped++
		}
		if !ok {
			continue
		}
		if !a.wants(name) {
			a.out.Skipped++
			continue
		}
		stored, err := a.stored(name)
		if err != nil {
			return err
		}
		mapped, err := idmap.Xattr(a.ids, name, []byte(value))
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", quote(name), err)
		}
		m.xattrs = append(m.xattrs, attribute{stored, mapped})
	}
	slices.SortFunc(m.xattrs, func(x, y attribute) int {
		if last := (x.name == idmap.Capabilities); last != (y.name == idmap.Capabilities) {
			if last {
				return +1
			}
			return -1
		}
		return strings.Compare(x.name, y.name)
	})
	return nil
}

func (a *applier) wants(name string) bool {
	switch a.opts.Xattrs {
	case XattrsNone:
		return false
	case XattrsOCI:
		return name == idmap.Capabilities
	}
	return !diff.IgnoresXattr(name)
}

// stored returns the name under which the tree has an attribute that programs are
// to see as name.
func (a *applier) stored(name string) (string, error) {
	rest, mark := strings.CutPrefix(name, a.marks.Prefix)
	switch {
	case !mark || a.opts.Form == Plain && (a.onto || a.opts.KeepMarks):
		return name, nil
	case a.opts.Form == Plain:
		return "", fmt.Errorf("extended attribute %s is a mark of overlayfs, which would mean something if this tree became a layer: apply in overlay form, or without such attributes", quote(name))
	}
	return a.marks.Prefix + "overlay." + rest, nil
}

// setFD sets the metadata of an open file but its times. Owner first: changing it
// takes setuid and capabilities away, as writing does.
func (m *meta) setFD(fd int, path string) error {
	if err := sys.ChownAt(fd, "", m.uid, m.gid); err != nil {
		return m.chownError(path, err)
	}
	if err := sys.ChmodAt(fd, "", m.mode); err != nil {
		return pathError("fchmod", path, err)
	}
	return m.setXattrs(fd, "", path)
}

// setAt sets the metadata of what is not open.
func (m *meta) setAt(p place) error {
	if err := sys.ChownAt(p.d.fd, p.name, m.uid, m.gid); err != nil {
		return m.chownError(p.path, err)
	}
	var st sys.Stat
	if err := sys.UsageAt(p.d.fd, p.name, &st); err != nil {
		return p.error("stat", err)
	}
	if st.Format() != sys.Link { // links have no mode
		if err := sys.ChmodAt(p.d.fd, p.name, m.mode); err != nil {
			return p.error("fchmodat", err)
		}
	}
	if err := m.setXattrs(p.d.fd, p.name, p.path); err != nil {
		return err
	}
	return p.error("utimensat", sys.SetTimesAt(p.d.fd, p.name, m.atime, m.mtime))
}

func (m *meta) chownError(path string, err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		err = fmt.Errorf("%w (to %d:%d: this needs root, or ids that this user namespace has)", err, m.uid, m.gid)
	}
	return pathError("fchown", path, err)
}

func (m *meta) setXattrs(fd int, name, path string) error {
	for _, x := range m.xattrs {
		if err := sys.SetXattr(fd, name, x.name, x.value); err != nil {
			return pathError("setxattr", path, fmt.Errorf("%s: %w%s", quote(x.name), err, xattrRemedy(err)))
		}
	}
	return nil
}

func xattrRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EPERM):
		return " (not permitted here: leave such attributes out, or be root outside of user namespaces)"
	case errors.Is(err, syscall.EOPNOTSUPP):
		return " (not on this file system: leave such attributes out, or use another)"
	}
	return ""
}

// setDir gives an open directory the metadata of its entry; the times it gets
// when it is left.
func (a *applier) setDir(d *dir, m meta) error {
	if err := m.setFD(d.fd, d.path); err != nil {
		return err
	}
	for _, x := range m.xattrs {
		if x.name == idmap.ACLDefault {
			d.inherits = true
		}
	}
	d.atime, d.mtime, d.changed = m.atime, m.mtime, true
	return nil
}
