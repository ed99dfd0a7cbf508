package whiteout

import (
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Stored returns the name under which a layer has an extended attribute that a mount shows
// as name: the inverse of [Namespace.Visible]. Kernels before 6.7 show no such attributes.
func (n *Namespace) Stored(name string) string {
	if rest, ours := strings.CutPrefix(name, n.Prefix); ours {
		return n.Prefix + "overlay." + rest
	}
	return name
}

// MakeDevice makes name in dirfd a whiteout: a character device 0:0. In a user namespace it
// needs Linux 5.8, and the error matches EPERM before that.
func MakeDevice(dirfd int, name string) error { return sys.MknodAt(dirfd, name, sys.Char, 0) }

// MakeFile makes name in dirfd a whiteout without a device: an empty file with an attribute
// (Linux 6.7, bc8df7a3dc03). The directory gets a mark that says so, without which its
// listing shows the file, unless it is opaque.
func (n *Namespace) MakeFile(dirfd int, name string) error {
	fd, err := sys.CreateAt(dirfd, name)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if err := sys.SetXattr(fd, "", n.Whiteout, []byte("y")); err != nil {
		return err
	}
	value, _, err := sys.GetXattr(dirfd, "", n.Opaque)
	if err != nil || IsOpaque(value) || string(value) == "x" {
		return err
	}
	return sys.SetXattr(dirfd, "", n.Opaque, []byte("x"))
}

// MakeOpaque marks the directory fd as one that hides what lower layers have in it.
func (n *Namespace) MakeOpaque(fd int) error { return sys.SetXattr(fd, "", n.Opaque, []byte("y")) }
