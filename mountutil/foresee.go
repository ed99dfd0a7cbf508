//go:build linux

package mountutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Foresee returns the stack that a mount of s would be, which is not mounted: options
// that the kernel turns off, for want of something in the file systems of these layers,
// are off in its features, and s.TurnedOff names them. It opens the directories and
// mounts nothing. The rules are those of ovl_fill_super (Linux 6.18).
//
// Errors: what mount(2) refuses matches the errno of mount(2), and is a [*LayersError];
// a directory that can't be opened; or one that matches [diff.ErrUnsupported] if only
// mounting would tell.
func Foresee(ctx context.Context, s diff.Stack) (diff.Stack, error) {
	f := foresight{Stack: s}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return s, err
	}
	if err := f.refused(ctx); err != nil {
		return s, err
	}
	err := f.settle()
	return f.Stack, err
}

// LayersError says that mount(2) refuses layers.
type LayersError struct {
	Path   string // of the directory at fault
	Reason string // the kernel's, as its log has it, and the remedy
	Err    error  // the errno
}

func (e *LayersError) Error() string {
	return fmt.Sprintf("mount the overlay: %s: %v: %s", diff.QuotePath(e.Path), e.Err, e.Reason)
}

// Unwrap returns Err.
func (e *LayersError) Unwrap() error { return e.Err }

// foresight is a stack with its directories.
type foresight struct {
	diff.Stack
	upper, work *foreseen // nil: none
	lower       []*foreseen
}

// foreseen is an open directory.
type foreseen struct {
	path  string
	fd    int
	id    diff.Inode
	mount uint64 // 0: not known (before Linux 5.8)
}

func (f *foresight) close() {
	for _, d := range append([]*foreseen{f.upper, f.work}, f.lower...) {
		if d != nil {
			unix.Close(d.fd)
		}
	}
}

func (f *foresight) open(ctx context.Context) error {
	for _, list := range [][]string{f.Lower, f.Data} {
		for _, path := range list {
			d, err := foresee(ctx, path)
			if err != nil {
				return err
			}
			f.lower = append(f.lower, d)
		}
	}
	var err error
	if f.Upper != "" {
		f.upper, err = foresee(ctx, f.Upper)
	}
	if f.Work != "" && err == nil {
		f.work, err = foresee(ctx, f.Work)
		if errors.Is(err, fs.ErrNotExist) { // whoever mounts it makes it first
			err = nil
		}
	}
	return err
}

func foresee(ctx context.Context, path string) (*foreseen, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := sys.Open(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, pathError("open", path, err, "name a directory that can be read")
	}
	d := &foreseen{path: path, fd: fd}
	st, err := d.stat("")
	if err != nil {
		unix.Close(fd)
		return nil, pathError("stat", path, err, "name a directory that can be read")
	}
	d.id = inodeOf(&st)
	if st.Mask&unix.STATX_MNT_ID != 0 {
		d.mount = st.Mnt_id
	}
	return d, nil
}

func (d *foreseen) stat(name string) (st unix.Statx_t, err error) {
	err = sys.Retry(func() error {
		return unix.Statx(d.fd, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	})
	return st, err
}

func inodeOf(st *unix.Statx_t) diff.Inode {
	return diff.Inode{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
}

// refused returns the error with which mount(2) refuses the directories.
func (f *foresight) refused(ctx context.Context) error {
	if f.upper != nil && f.work != nil {
		if f.upper.mount != f.work.mount {
			return &LayersError{f.Work, "workdir and upperdir must reside under the same mount", unix.EINVAL}
		}
		for _, pair := range [][2]*foreseen{{f.upper, f.work}, {f.work, f.upper}} {
			if within, err := pair[0].within(map[diff.Inode]bool{pair[1].id: true}); err != nil || within || pair[0].id == pair[1].id {
				return errOr(err, &LayersError{f.Work, "workdir and upperdir must be separate subtrees", unix.EINVAL})
			}
		}
	}
	traps := map[diff.Inode]bool{}
	for _, d := range append([]*foreseen{f.upper, f.work}, f.lower...) {
		switch {
		case d == nil:
		case traps[d.id]:
			return &LayersError{d.path, "conflicting lowerdir path: it is named twice, or is the upper or work directory too; name each directory once", unix.ELOOP}
		default:
			traps[d.id] = true
		}
	}
	for _, d := range f.lower { // an upper directory inside a lower one is accepted
		if within, err := d.within(traps); err != nil || within {
			return errOr(err, &LayersError{d.path, "overlapping lowerdir path: it is inside another layer; name directories that stand apart", unix.ELOOP})
		}
	}
	return f.volatile(ctx)
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// within reports whether one of the directories above d, as far as its mount goes, is
// among these.
func (d *foreseen) within(dirs map[diff.Inode]bool) (bool, error) {
	fd, err := sys.Open(d.fd, ".", unix.O_PATH|unix.O_DIRECTORY)
	for err == nil {
		at := foreseen{fd: fd}
		st, statErr := at.stat("")
		id := inodeOf(&st)
		if statErr != nil || id != d.id && dirs[id] {
			unix.Close(fd)
			return statErr == nil, statErr
		}
		parent, openErr := sys.Open(fd, "..", unix.O_PATH|unix.O_DIRECTORY)
		unix.Close(fd)
		fd, err = parent, openErr
		if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			unix.Close(fd)
			return false, nil
		}
		var up unix.Statx_t
		at = foreseen{fd: fd}
		if up, statErr = at.stat(""); err == nil && (statErr != nil || inodeOf(&up) == id) { // the root
			unix.Close(fd)
			return false, statErr
		}
	}
	return false, pathError("look above", d.path, err, "run as root")
}

// volatile returns an error if an incompatible feature, such as a volatile mount that
// is not mounted any more, has left its mark in the work directory.
func (f *foresight) volatile(ctx context.Context) error {
	if f.work == nil {
		return nil
	}
	fd, err := sys.Open(f.work.fd, "work/incompat", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	mark := filepath.Join(f.Work, "work/incompat")
	if err != nil {
		return pathError("open", mark, err, "run as root")
	}
	defer unix.Close(fd)
	found := ""
	if err := sys.ReadDir(fd, func(e sys.Dirent) bool { found = e.Name; return false }); err != nil || found == "" {
		return err
	}
	list, _ := Overlays(ctx) // one in a namespace that may not be looked at is not found
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, o := range list {
		path := o.Upper
		if o.PID != 0 {
			path = fmt.Sprintf("/proc/%d/root%s", o.PID, path)
		}
		if d, err := foresee(ctx, path); err == nil {
			unix.Close(d.fd)
			if f.upper != nil && d.id == f.upper.id {
				return nil // it is mounted now
			}
		}
	}
	return &LayersError{
		filepath.Join(mark, found),
		fmt.Sprintf("overlay with incompat feature '%s' cannot be mounted: files of the upper directory may be lost after a crash; remove the mark if there was none", found),
		unix.EINVAL,
	}
}

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
