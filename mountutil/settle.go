//go:build linux

package mountutil

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// settle turns off what the kernel turns off.
func (f *foresight) settle() error {
	if err := f.withoutXattrs(); err != nil {
		return err
	}
	if f.Features.UUIDOff {
		if err := f.severalFileSystems(); err != nil {
			return err
		}
	}
	if err := f.withoutHandles(); err != nil {
		return err
	}
	if f.Features.NFSExport && !f.Features.Index && f.Upper != "" {
		f.turnOff("nfs_export requires index=on", &f.Features.NFSExport)
	}
	return nil
}

// names of the features that can be turned off.
func (f *foresight) nameOf(feature *bool) string {
	switch feature {
	case &f.Features.Index:
		return "index=off"
	case &f.Features.NFSExport:
		return "nfs_export=off"
	case &f.Features.Metacopy:
		return "metacopy=off"
	}
	return "redirect_dir=nofollow"
}

func (f *foresight) turnOff(reason string, features ...*bool) {
	var off []string
	for _, feature := range features {
		if *feature {
			*feature = false
			off = append(off, f.nameOf(feature))
		}
	}
	if len(off) > 0 {
		f.TurnedOff = append(f.TurnedOff, strings.Join(off, ",")+" ("+reason+")")
	}
}

// withoutXattrs turns off what needs marks in an upper layer that can't have any.
func (f *foresight) withoutXattrs() error {
	if f.upper == nil {
		return nil
	}
	d := f.upper
	if f.work != nil {
		d = f.work
	}
	name := "trusted.overlay.opaque"
	if f.Features.UserXattr {
		name = "user.overlay.opaque"
	}
	fd, err := sys.Open(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil //nolint:nilerr // what is needed of it is opened later
	}
	defer unix.Close(fd)
	if _, err = unix.Fgetxattr(fd, name, nil); errors.Is(err, unix.EOPNOTSUPP) {
		f.turnOff("the file system of "+diff.QuotePath(d.path)+" has no such extended attributes",
			&f.Features.RedirectFollow, &f.Features.Metacopy, &f.Features.Index)
	}
	return nil
}

// withoutHandles turns off what needs file handles, where a file system has none or
// can't be told from another (ovl_lower_dir, ovl_lower_uuid_ok).
func (f *foresight) withoutHandles() error {
	off := func(reason string) { f.turnOff(reason, &f.Features.Index, &f.Features.NFSExport) }
	dirs := f.lower
	if f.upper != nil {
		dirs = append([]*foreseen{f.upper}, dirs...)
	}
	for _, d := range dirs {
		if !f.Features.Index && !f.Features.NFSExport {
			return nil
		}
		if _, _, err := unix.NameToHandleAt(d.fd, "", unix.AT_EMPTY_PATH); errors.Is(err, unix.EOPNOTSUPP) {
			off("the file system of " + diff.QuotePath(d.path) + " does not support file handles")
		}
	}
	if !f.Features.Index && !f.Features.NFSExport {
		return nil
	}
	return f.withoutIDs(off)
}

// severalFileSystems turns uuid=off into uuid=null if the layers are on several file
// systems (ovl_get_layers). Those of data-only layers do not count (ovl_get_data_fsid).
func (f *foresight) severalFileSystems() error {
	mounts, err := superBlocks()
	if err != nil {
		return err
	}
	first, some := uint64(0), false
	for _, d := range append([]*foreseen{f.upper}, f.lower[:len(f.Stack.Lower)]...) {
		if d == nil {
			continue
		}
		sb, ok := mounts[d.mount]
		if !ok {
			sb = d.id.Dev
		}
		if some && sb != first {
			f.Features.UUIDOff = false
			f.TurnedOff = append(f.TurnedOff, "uuid=null (uuid=off requires a single file system for lower and upper)")
			return nil
		}
		first, some = sb, true
	}
	return nil
}

// withoutIDs turns off what takes a UUID for each of the lower file systems.
func (f *foresight) withoutIDs(off func(reason string)) error {
	mounts, err := superBlocks()
	if err != nil {
		return err
	}
	type fileSystem struct {
		dir   *foreseen
		id    [16]byte
		known bool
	}
	seen := map[uint64]*fileSystem{}
	for _, d := range f.lower {
		sb, ok := mounts[d.mount]
		if !ok {
			sb = d.id.Dev
		}
		if seen[sb] != nil {
			continue
		}
		now := &fileSystem{dir: d}
		if fd, err := sys.Open(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			now.id, now.known = sys.FileSystemID(fd)
			unix.Close(fd)
		}
		onUpper := f.upper != nil && mounts[f.upper.mount] == sb && ok
		for _, other := range seen {
			switch {
			case onUpper: // the upper layer's file system is not compared
			case now.known && other.known && now.id == other.id:
				off("the file system of " + diff.QuotePath(d.path) + " has the UUID of that of " + diff.QuotePath(other.dir.path))
				return nil
			case !now.known && !other.known:
				return &diff.UnsupportedError{
					Op:     "foresee what a mount makes of index=on",
					Reason: "neither the file system of " + diff.QuotePath(other.dir.path) + " nor that of " + diff.QuotePath(d.path) + " tells its UUID, and the kernel turns the index off if they have none: mount the overlay and name where it is mounted",
				}
			}
		}
		seen[sb] = now
	}
	return nil
}

// superBlocks returns the device of each mount's file system, by the id of the mount.
// st_dev is another one in a subvolume of btrfs.
func superBlocks() (map[uint64]uint64, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w; is /proc mounted?", err)
	}
	mounts := make(map[uint64]uint64, len(infos))
	for _, m := range infos {
		mounts[uint64(m.ID)] = unix.Mkdev(uint32(m.Major), uint32(m.Minor)) //nolint:gosec // numbers of the kernel
	}
	return mounts, nil
}
