package witness

import (
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// seen is an entry as the mount shows it.
type seen struct {
	sys.Identity
	// real is the handle of the inode in its layer, if the mount tells (Linux 6.6).
	real  whiteout.Origin
	known bool
}

// look looks at name in a directory of the mount. ok is false if something else is
// mounted there.
func (m *Mount) look(dirfd int, name string) (e seen, ok bool, err error) {
	if err := sys.IdentityAt(dirfd, name, &e.Identity); err != nil {
		return e, false, err
	}
	if e.Mount != m.id.Mount || e.Mount == 0 && e.Dev != m.id.Dev && e.Format() == sys.Directory {
		return e, false, nil
	}
	if h, err := sys.FIDAt(dirfd, name); err == nil {
		e.real, e.known = whiteout.ParseMountHandle(h)
	}
	return e, true, nil
}

// same reports whether the entry name of a layer directory, of which stat said id, is the
// inode that the mount shows. certain is false where copies of an inode may look alike.
func (m *Mount) same(e *seen, l *Layer, dirfd int, name string, id *sys.Identity) (same, certain bool) {
	alike := e.Format() == id.Format() && e.Ctime == id.Ctime &&
		(!e.HasBtime || !id.HasBtime || e.Btime == id.Btime)
	if id.Format() != sys.Directory {
		alike = alike && e.Size == id.Size && sameNumber(e.Ino, id.Ino)
	}
	if e.known {
		h, err := sys.HandleAt(dirfd, name)
		switch {
		case err != nil: // a file system without handles
		case e.real.Upper != l.upper || e.real.Handle != h || differ(e.real.FileSystem, l.fileSystem().uuid):
			return false, true
		case e.real.FileSystem == l.fileSystem().uuid && e.real.FileSystem != [16]byte{}, l.fileSystem().numbers:
			// Also of what was copied up, where the times are the upper layer's. Those file
			// systems have random generation numbers in their handles.
			return true, true
		default:
			return alike, true
		}
	}
	return alike, !l.copies()
}

// sameNumber compares inode numbers: with xino, the number that the mount shows has the
// index of the layer's file system in its highest bits (ovl_map_dev_ino), at most 32.
func sameNumber(shown, real uint64) bool {
	return shown == real || shown>>32 != real>>32 && uint32(shown) == uint32(real)
}

// differ reports whether two UUIDs are known and not equal.
func differ(a, b [16]byte) bool {
	return a != b && a != [16]byte{} && b != [16]byte{}
}
