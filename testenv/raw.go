package testenv

import (
	"os"
	"strconv"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// What packages os and syscall have no name for.

const (
	oPath    = 0x200000
	oTmpfile = 0x400000 | syscall.O_DIRECTORY
)

// exchange swaps two paths atomically.
func exchange(a, b string) error {
	return linkError("renameat2", a, b, sys.RenameExchange(a, b))
}

// linkFD gives a name to an open file without one.
func linkFD(f *os.File, path string) error {
	name := procFD(f.Fd())
	return linkError("linkat", name, path, sys.LinkFollow(name, path))
}

// setTimes sets access and modification time, of a symbolic link itself: a
// descriptor of the link's own inode is followed no further.
func setTimes(path string, t syscall.Timespec) error {
	fd, err := syscall.Open(path, oPath|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return pathError("open", path, err)
	}
	defer syscall.Close(fd)
	return pathError("utimensat", path, syscall.UtimesNano(procFD(uintptr(fd)), []syscall.Timespec{t, t}))
}

func procFD(fd uintptr) string { return "/proc/self/fd/" + strconv.FormatUint(uint64(fd), 10) }

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

func linkError(op, a, b string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: a, New: b, Err: err}
}
