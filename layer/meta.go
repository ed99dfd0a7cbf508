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
	left         *leftOut // nil: every attribute must be set
}

type attribute struct {
	name  string
	value []byte
}

// paxXattr begins the names of records that have extended attributes.
const paxXattr = "SCHILY.xattr."

// paxACLs are the records in which GNU tar --acls, libarchive and star have access
// control lists as text, and the attributes that say the same in numbers.
var paxACLs = []struct{ record, attribute string }{
	{"SCHILY.acl.access", idmap.ACLAccess},
	{"SCHILY.acl.default", idmap.ACLDefault},
}

func (a *applier) metadata(h *tar.Header) (m meta, err error) {
	if m.uid, err = idmap.User(a.ids, int64(h.Uid)); err != nil {
		return m, err
	}
	if m.gid, err = idmap.Group(a.ids, int64(h.Gid)); err != nil {
		return m, err
	}
	m.left = &a.left
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
		switch {
		case !ok && (record == paxNFS4 || strings.HasPrefix(record, paxLibarchive)):
			a.left.out(record)
		case !ok:
		case !holdable(name) || !a.wants(name):
			a.left.out(name)
			if name == idmap.ACLAccess {
				narrow(m, value)
			}
		default:
			stored, err := a.stored(name)
			if err != nil {
				return err
			}
			if err := a.attribute(m, name, stored, []byte(value)); err != nil {
				return err
			}
		}
	}
	for _, acl := range paxACLs {
		text := h.PAXRecords[acl.record]
		if text == "" || h.PAXRecords[paxXattr+acl.attribute] != "" {
			continue
		}
		if err := a.textACL(h, m, acl.record, acl.attribute, text); err != nil {
			return fmt.Errorf("access control list %s: %w", quote(text), err)
		}
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

// attribute adds an attribute, with the ids of this host.
func (a *applier) attribute(m *meta, name, stored string, value []byte) error {
	mapped, err := idmap.Xattr(a.ids, name, value)
	if err != nil {
		return fmt.Errorf("extended attribute %s: %w", quote(name), err)
	}
	m.xattrs = append(m.xattrs, attribute{stored, mapped})
	return nil
}

// textACL adds an access control list that is given as text. What it says of users
// and groups by a name without a number is left out: the names are those of another
// system.
func (a *applier) textACL(h *tar.Header, m *meta, record, name, text string) error {
	if h.Typeflag == tar.TypeSymlink || name == idmap.ACLDefault && h.Typeflag != tar.TypeDir {
		return nil // there is no such thing
	}
	list, err := parseACL(text)
	if err != nil {
		return err
	}
	wanted := a.wants(name)
	list, some := list.without(func(item aclItem) bool { return item.name != "" || !wanted })
	if some {
		a.left.out(record)
	}
	if bits, ok := list.minimal(); ok && name == idmap.ACLAccess {
		m.mode = m.mode&^0o777 | bits
		return nil
	}
	if !wanted {
		return nil
	}
	return a.attribute(m, name, name, list.encode())
}

// narrow takes from the mode what an access control list that is left out did not
// grant: with one, the mode's bits of the group are those of the list's mask.
func narrow(m *meta, value string) {
	list, ok := decodeACL([]byte(value))
	if !ok {
		return
	}
	list, _ = list.without(func(aclItem) bool { return true })
	if bits, ok := list.minimal(); ok {
		m.mode = m.mode&^0o777 | m.mode&bits
	}
}

// Records with attributes that SCHILY.xattr.* has as well, or that no file system of
// Linux has.
const (
	paxLibarchive = "LIBARCHIVE."
	paxNFS4       = "SCHILY.acl.ace"
)

// mostAttribute is XATTR_NAME_MAX.
const mostAttribute = 255

// holdable reports whether Linux has attributes of that name (xattr(7)). macOS's
// com.apple.* are of no namespace that there is.
func holdable(name string) bool {
	space, rest, _ := strings.Cut(name, ".")
	switch space {
	case "user", "trusted", "security":
		return rest != "" && len(name) <= mostAttribute
	}
	return name == idmap.ACLAccess || name == idmap.ACLDefault
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
	switch {
	case a.marks.Stored(name) == name || a.opts.Form == Plain && (a.onto || a.opts.KeepMarks):
		return name, nil
	case a.opts.Form == Plain:
		return "", fmt.Errorf("extended attribute %s is a mark of overlayfs, which would mean something if this tree became a layer: apply in overlay form, or without such attributes", quote(name))
	}
	return a.marks.Stored(name), nil
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
		err := sys.SetXattr(fd, name, x.name, x.value)
		if err == nil || m.left.may(x.name, err) {
			continue
		}
		return pathError("setxattr", path, fmt.Errorf("%s: %w%s", quote(x.name), err, xattrRemedy(err)))
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
