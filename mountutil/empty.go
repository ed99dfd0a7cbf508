//go:build linux

package mountutil

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
)

// mountEmpty opens an empty directory that lies above a single layer,
// since the kernel wants two: the root of a tmpfs, mounted at point. Above, because
// overlayfs does not read redirects and metacopy marks in the lowest layer, so that one
// must stay the lowest. The root of the view is then the root of the tmpfs, which is
// made to look like the layer's. A temporary directory would not do: once it is
// removed, reading the merged root fails with ENOENT.
func mountEmpty(point, layer string) (*os.File, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mounting.Mount("tmpfs", point, flags, "size=4k,mode=755"); err != nil {
		return nil, mounting.Error("mount an empty layer", err)
	}
	if err := likeRoot(point, layer); err != nil {
		return nil, pathError("copy the attributes of", layer, err, "run as root")
	}
	return openIn(nil, point)
}

// likeRoot gives a directory the owner, mode, extended attributes and times of another.
// An owner that this process may not give, and an attribute that a tmpfs can't have (user.*
// before Linux 6.6), are left out: roots are not among the changes.
func likeRoot(dir, of string) error {
	var st unix.Stat_t
	if err := unix.Stat(of, &st); err != nil {
		return err
	}
	// EINVAL: not mapped here; EPERM: without CAP_CHOWN, which reading does not need.
	if err := unix.Chown(dir, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
		return err
	}
	names := make([]byte, 64<<10)
	n, err := unix.Listxattr(of, names)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	for name := range strings.SplitSeq(string(names[:max(n, 0)]), "\x00") {
		value := make([]byte, 64<<10)
		if n, err := unix.Getxattr(of, name, value); name != "" && err == nil {
			_ = unix.Setxattr(dir, name, value[:n], 0)
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dir, []unix.Timespec{st.Atim, st.Mtim}, 0)
}
