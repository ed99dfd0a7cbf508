package whiteout

import (
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Namespace has the names of the extended attributes that mark entries of a
// layer.
type Namespace struct {
	Prefix   string // of all names
	Opaque   string // of a directory: [Namespace.IsOpaqueDir]
	Redirect string // of a directory or metacopy file (4.10): [ParseRedirect]
	Metacopy string // of a regular file (4.19): [CheckMetacopy]
	Whiteout string // of an empty regular file, any value (6.7)
	Origin   string // of what was copied up (4.12): [ParseOrigin]
	Upper    string // of a directory's index entry (4.16): [ParseOrigin] of the upper directory
	Protattr string // of what is immutable or append-only: the letters a and i (5.15)
	// Fuse: the layers are those of fuse-overlayfs, which has no other marks than whiteouts
	// and Opaque: the other names are empty.
	Fuse bool
}

var (
	trusted = newNamespace("trusted.overlay.")
	user    = newNamespace("user.overlay.")
)

func newNamespace(prefix string) *Namespace {
	return &Namespace{
		Prefix:   prefix,
		Opaque:   prefix + "opaque",
		Redirect: prefix + "redirect",
		Metacopy: prefix + "metacopy",
		Whiteout: prefix + "whiteout",
		Origin:   prefix + "origin",
		Upper:    prefix + "upper",
		Protattr: prefix + "protattr",
	}
}

// NamespaceOf returns the namespace of an overlay mounted with these features.
func NamespaceOf(f diff.Features) *Namespace {
	if f.Fuse {
		return fuse
	}
	if f.UserXattr {
		return user
	}
	return trusted
}

// Visible returns the name under which a mount shows an extended attribute of
// a layer, and false for overlayfs's own. Since 6.7 an attribute that a program
// sets in the namespace of the mount is stored with one more "overlay.", which
// is taken away here.
func (n *Namespace) Visible(name string) (string, bool) {
	rest, ours := strings.CutPrefix(name, n.Prefix)
	if !ours {
		return name, true
	}
	if rest, escaped := strings.CutPrefix(rest, "overlay."); escaped {
		return n.Prefix + rest, true
	}
	return "", false
}

// IsDevice reports whether st is a whiteout by device number: a character
// device 0:0, whatever its mode and owner. A block device 0:0 is none.
func IsDevice(st *sys.Stat) bool { return st.Format() == sys.Char && st.Rdev == 0 }

// Is reports whether name in dirfd, of which stat said st, is a whiteout. The
// kernel honours the attribute on lookup in every layer, whether or not the
// directory is marked opaque=x.
func (n *Namespace) Is(dirfd int, name string, st *sys.Stat) (bool, error) {
	if n.Fuse {
		return IsDevice(st), nil
	}
	if st.Format() == sys.Regular && st.Size == 0 {
		return sys.HasXattr(dirfd, name, n.Whiteout)
	}
	return IsDevice(st), nil
}
