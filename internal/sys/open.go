package sys

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	dirFlags  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fileFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_LARGEFILE | unix.O_CLOEXEC
)

// CurrentDir stands for the descriptor of the current directory.
const CurrentDir = unix.AT_FDCWD

// OpenDirAt opens the directory name in dirfd for reading. Anything but a
// directory, symbolic links included, gives ENOTDIR (a link: ELOOP or ENOTDIR).
func OpenDirAt(dirfd int, name string) (int, error) { return openAt(dirfd, name, dirFlags) }

// OpenFileAt opens the file name in dirfd for reading, without waiting for the
// other end of a fifo. The caller must know from stat that it is regular, and
// check what it got.
func OpenFileAt(dirfd int, name string) (int, error) { return openAt(dirfd, name, fileFlags) }

// OpenPathAt opens name in dirfd, whatever it is, for [StatAt] and [Reopen] only.
// Nothing happens to what it is, be it a device.
func OpenPathAt(dirfd int, name string) (int, error) {
	return openAt(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
}

// OpenAnyAt is [OpenPathAt] that has a file system mounted where that happens on
// demand (autofs).
func OpenAnyAt(dirfd int, name string) (int, error) {
	fd, err := openAt(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return OpenPathAt(dirfd, name)
	}
	return fd, err
}

// OpenMagicAt is [OpenPathAt] that follows a link: for those in /proc, which lead to
// what is open.
func OpenMagicAt(dirfd int, name string) (int, error) {
	return openAt(dirfd, name, unix.O_PATH|unix.O_CLOEXEC)
}

// OpenWriteAt opens what name in dirfd is for writing, and waits for the reader of a
// fifo. follow is for the links of [OpenMagicAt].
func OpenWriteAt(dirfd int, name string, follow bool) (int, error) {
	flags := unix.O_WRONLY | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_LARGEFILE | unix.O_CLOEXEC
	if follow {
		flags &^= unix.O_NOFOLLOW
	}
	return openAt(dirfd, name, flags)
}

// Reopen opens what [OpenPathAt] opened, of which the caller must know that it is a
// regular file, for reading. Without /proc it fails with ENOENT.
func Reopen(fd int) (int, error) {
	return openAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), fileFlags&^unix.O_NOFOLLOW)
}

func openAt(dirfd int, name string, flags int) (int, error) { return makeAt(dirfd, name, flags, 0) }

// makeAt is openAt that may make the file.
func makeAt(dirfd int, name string, flags int, mode uint32) (int, error) {
	var c cname
	if errno := c.set(name); errno != 0 {
		return -1, errno
	}
	fd, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall6(unix.SYS_OPENAT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)), uintptr(flags), uintptr(mode), 0, 0)
	})
	if errno != 0 {
		return -1, errno
	}
	return fd, nil
}

// ReadValue reads a file of /sys or /proc that holds one word, without the space around it.
// It takes the three system calls that it needs.
func ReadValue(path string) (string, error) {
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer Close(fd)
	var word [128]byte
	n := 0
	err = Retry(func() error { n, err = unix.Read(fd, word[:]); return err })
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(word[:n])), nil
}

// OpenDir opens the directory at path, following symbolic links: for paths
// that the caller was given, not for names found in a tree.
func OpenDir(path string) (int, error) {
	return Open(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
}

// Open is openat(2), close-on-exec, of a path of any length. Symbolic links are followed
// unless the flags say otherwise, as of [OpenDir].
func Open(dirfd int, path string, flags int) (fd int, err error) {
	err = Retry(func() error { fd, err = unix.Openat(dirfd, path, flags|unix.O_CLOEXEC, 0); return err })
	return fd, err
}

// Close closes fd. Linux frees the descriptor whatever close returns.
func Close(fd int) { _ = unix.Close(fd) }

// PreadFull reads len(b) bytes at off, or fewer at the end of the file.
func PreadFull(fd int, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m := 0
		if err := Retry(func() (err error) { m, err = unix.Pread(fd, b[n:], off+int64(n)); return err }); err != nil || m == 0 {
			return n, err
		}
		n += m
	}
	return n, nil
}

// lastFolio is where the last part of the largest file begins: tmpfs says of data there
// that it is a hole, because the offset behind it is no number any more (Linux 6.18).
const lastFolio = math.MaxInt64 - 4<<20 + 1

// NextData returns the offset of the first data at or after off, or size if
// only a hole follows.
func NextData(fd int, off, size int64) int64 {
	next, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return min(size, max(off, lastFolio))
	case err != nil: // no holes known here
		return off
	}
	return min(next, size)
}

// ContentSize returns how much can be read of a file, of which stat says that it has
// size bytes. On an overlay a metacopy file may claim what it likes, while lseek(2)
// asks the file that has the data (fs/overlayfs/file.c, ovl_llseek). The descriptor is at
// the beginning of the file afterwards.
func ContentSize(fd int, size int64) int64 {
	end, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return size
	}
	_, _ = unix.Seek(fd, 0, unix.SEEK_SET) // what seeks to the end seeks to the beginning
	return end
}

// ReadLinkAt returns the target of the symbolic link name in dirfd.
func ReadLinkAt(dirfd int, name string) (string, error) {
	var c cname
	if errno := c.set(name); errno != 0 {
		return "", errno
	}
	var short [256]byte
	for b := short[:]; ; b = make([]byte, 4*len(b)) {
		n, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall6(unix.SYS_READLINKAT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
				uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0)
		})
		switch {
		case errno != 0:
			return "", errno
		case n < len(b):
			return string(b[:n]), nil
		}
	}
}

func asErrno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // x/sys returns it bare
		return errno
	}
	return syscall.EIO
}
