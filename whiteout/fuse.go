package whiteout

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// The marks of fuse-overlayfs 1.0 to 1.14 (main.c, utils.c, fuse-overlayfs.h): devices and
// opaque attributes as overlayfs has them, and for users who may make neither, files with
// names of their own, as AUFS has them.
const (
	fuseWhiteout = ".wh." // before the name that is deleted
	fuseOpaque   = ".wh..wh..opq"
)

var fuse = &Namespace{
	Prefix: "user.fuseoverlayfs.",
	Opaque: "user.fuseoverlayfs.opaque",
	Fuse:   true,
}

// fuseOpaques are the attributes that hide what lower layers have in a directory.
var fuseOpaques = []string{"trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque"}

// fusePrivate begin the names of attributes that fuse-overlayfs shows to nobody.
var fusePrivate = []string{"user.fuseoverlayfs.", "trusted.overlay.", "user.overlay.", "security.fuseoverlayfs."}

// FuseName returns what an entry of a directory is to fuse-overlayfs: the name that it has,
// or the one that it deletes. It is "" for an entry that is a mark and nothing else.
func FuseName(entry string) string {
	name, mark := strings.CutPrefix(entry, fuseWhiteout)
	if mark && strings.HasPrefix(name, fuseWhiteout) {
		return ""
	}
	return name
}

// IsFuseMark reports whether fuse-overlayfs shows no entry of this name, whatever it is.
func IsFuseMark(name string) bool { return strings.HasPrefix(name, fuseWhiteout) }

// FuseWhiteout returns the name of the file that deletes name.
func FuseWhiteout(name string) string { return fuseWhiteout + name }

// IsOpaqueDir reports whether the directory fd is marked as one that hides what lower
// layers have in it.
func (n *Namespace) IsOpaqueDir(fd int) (bool, error) {
	if !n.Fuse {
		value, _, err := sys.FindXattr(fd, "", n.Opaque)
		return IsOpaque(value), err
	}
	for _, attr := range fuseOpaques {
		value, _, err := sys.FindXattr(fd, "", attr)
		if err != nil || IsOpaque(value) {
			return err == nil, err
		}
	}
	return sys.Exists(fd, fuseOpaque)
}

// The attributes that stand in for owner and mode, where fuse-overlayfs may not set them
// (xattr_permissions), in the order in which it looks for one at the root of a layer.
var overrides = []string{"security.fuseoverlayfs.override_stat", containersOverride, "user.fuseoverlayfs.override_stat"}

const (
	containersPrefix   = "user.containers.override_"
	containersOverride = containersPrefix + "stat"
)

// Override is how a layer of fuse-overlayfs says owner and mode.
type Override struct {
	attrs []string // that are looked for
}

// OverrideOf returns how the layer whose root directory is fd says owner and mode. The root
// has the attribute that counts in the layer. If it has none, any of them counts: no program
// can set one through the mount.
func OverrideOf(fd int) (Override, error) {
	for _, attr := range overrides {
		if is, err := sys.HasXattr(fd, "", attr); is || err != nil {
			return Override{[]string{attr}}, err
		}
	}
	return Override{overrides}, nil
}

// Visible returns the name under which fuse-overlayfs shows an extended attribute of the
// layer, and false for its own. With user.containers.override_stat, security attributes
// are stored under names that begin with user.containers.override_.
func (o Override) Visible(name string) (string, bool) {
	containers := len(o.attrs) == 1 && o.attrs[0] == containersOverride
	private := func(name string) bool {
		for _, p := range fusePrivate {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
		return containers && strings.HasPrefix(name, "security.")
	}
	if private(name) || name == containersOverride {
		return "", false
	}
	if inner, encoded := strings.CutPrefix(name, containersPrefix); encoded && private(inner) {
		for _, p := range fusePrivate {
			if strings.HasPrefix(inner, p) { // never as a mark of a layer's own
				return "", false
			}
		}
		return inner, true
	}
	return name, true
}

// Apply changes st, which a stat call returned for name in dirfd, to what fuse-overlayfs
// shows. ids are the owner's, as a program in the mount sees them; ok is false if nothing
// stands in for the owner.
func (o Override) Apply(dirfd int, name string, st *sys.Stat) (ok bool, err error) {
	for _, attr := range o.attrs {
		value, found, err := sys.FindXattr(dirfd, name, attr)
		if err != nil {
			return false, err
		}
		if found {
			if err := applyOverride(string(value), st); err != nil {
				return false, fmt.Errorf("%s %q: %w", attr, value, err)
			}
			return true, nil
		}
	}
	return false, nil
}

// applyOverride applies UID:GID:MODE[:TYPE], MODE octal. The type is containers/storage's
// (pkg/idtools): of a device that is stored as a file, char-MAJOR-MINOR.
func applyOverride(value string, st *sys.Stat) error {
	parts := strings.Split(value, ":")
	if len(parts) < 3 || len(parts) > 4 {
		return errOverride
	}
	uid, errUID := strconv.ParseUint(parts[0], 10, 32)
	gid, errGID := strconv.ParseUint(parts[1], 10, 32)
	mode, errMode := strconv.ParseUint(parts[2], 8, 32)
	if errUID != nil || errGID != nil || errMode != nil {
		return errOverride
	}
	format := st.Format()
	if len(parts) == 4 {
		var err error
		if format, st.Rdev, err = overrideType(parts[3], st); err != nil {
			return err
		}
	}
	if format != st.Format() {
		st.Size = 0
	}
	st.UID, st.GID = uint32(uid), uint32(gid)
	st.Mode = format | uint32(mode)&0o7777
	return nil
}

var errOverride = fmt.Errorf("it is not UID:GID:MODE, so what fuse-overlayfs shows is not known")

// overrideType returns what a file stands for. A file may stand for what an ordinary user
// can't make; nothing stands for a directory or a link.
func overrideType(word string, st *sys.Stat) (format uint32, rdev uint64, err error) {
	kind, numbers, _ := strings.Cut(word, "-")
	formats := map[string]uint32{
		"file": sys.Regular, "dir": sys.Directory, "symlink": sys.Link,
		"char": sys.Char, "block": sys.Block, "pipe": sys.Fifo, "socket": sys.Sock,
	}
	format, ok := formats[kind]
	device := format == sys.Char || format == sys.Block
	switch {
	case !ok:
		return 0, 0, fmt.Errorf("type %q is not known", word)
	case format == st.Format() && !device:
		return format, st.Rdev, nil
	case st.Format() != sys.Regular && format != st.Format(), format == sys.Directory, format == sys.Link:
		return 0, 0, fmt.Errorf("nothing can stand for type %q here", word)
	case !device:
		return format, 0, nil
	}
	major, minor, _ := strings.Cut(numbers, "-")
	minor, _, _ = strings.Cut(minor, "-") // more is for later versions
	a, errA := strconv.ParseInt(major, 10, 32)
	b, errB := strconv.ParseInt(minor, 10, 32)
	rdev, ok = sys.MakeDevice(a, b)
	if errA != nil || errB != nil || !ok || format == sys.Char && rdev == 0 { // 0:0 is a whiteout
		return 0, 0, fmt.Errorf("type %q names no device", word)
	}
	return format, rdev, nil
}
