//go:build linux

package mountutil

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

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
