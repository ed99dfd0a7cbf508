package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OmitTime as the Nsec of a [Timespec] leaves that time of the inode alone.
const OmitTime = unix.UTIME_OMIT

// Which names in a path [OpenDirBelow] follows.
const (
	// NoLinks: any symbolic link on the way gives ELOOP, and ".." out of the
	// directory EXDEV.
	NoLinks = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	// InRoot follows symbolic links as if the directory were the root directory:
	// none leads out of it, nor does "..".
	InRoot = unix.RESOLVE_IN_ROOT
)

// OpenDirBelow opens a directory by a path of any number of names, for reading.
// Nothing leads out of dirfd, into another mount (EXDEV) or through the links of
// /proc. openat2 is Linux 5.6.
func OpenDirBelow(dirfd int, path string, resolve uint64) (int, error) {
	// Without O_NOFOLLOW, which makes a link at the end ENOTDIR: ELOOP tells more.
	return openBelow(dirfd, path, dirFlags&^unix.O_NOFOLLOW, resolve|unix.RESOLVE_NO_XDEV)
}

// What [OpenBelow] opens.
const (
	PathDir  = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC // a directory, for more below it
	ReadFile = fileFlags                                       // a file, see [OpenFileAt]
)

// OpenBelow opens what is at a path of any number of names, which may lead into other
// mounts. ".." out of dirfd gives EXDEV, and any symbolic link on the way ELOOP.
func OpenBelow(dirfd int, path string, flags int) (int, error) {
	return openBelow(dirfd, path, flags&^unix.O_NOFOLLOW, NoLinks)
}

func openBelow(dirfd int, path string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	var fd int
	var err error
	// EAGAIN: something was renamed or mounted meanwhile, anywhere, and the kernel
	// can't be sure that ".." stayed inside.
	for range 128 {
		if err = Retry(func() error { fd, err = unix.Openat2(dirfd, path, &how); return err }); err != unix.EAGAIN {
			break
		}
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// OpenParent opens the directory that holds the directory fd.
func OpenParent(fd int) (int, error) { return openAt(fd, "..", dirFlags) }

// CreateAt makes the file name in dirfd, which must not exist, open for writing
// and with mode 0600.
func CreateAt(dirfd int, name string) (int, error) {
	return makeAt(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_LARGEFILE|unix.O_CLOEXEC, 0o600)
}

// MkdirAt makes the directory name in dirfd, for its owner only.
func MkdirAt(dirfd int, name string) error { return unix.Mkdirat(dirfd, name, 0o700) }

// MkdirSharedAt makes the directory name in dirfd, with mode 0777 before umask.
func MkdirSharedAt(dirfd int, name string) error { return unix.Mkdirat(dirfd, name, 0o777) }

// SymlinkAt makes the symbolic link name in dirfd.
func SymlinkAt(target string, dirfd int, name string) error {
	return unix.Symlinkat(target, dirfd, name)
}

// LinkAt makes the hard link name in dirfd of oldname in olddirfd, even if that is
// a symbolic link.
func LinkAt(olddirfd int, oldname string, dirfd int, name string) error {
	return unix.Linkat(olddirfd, oldname, dirfd, name, 0)
}

// MknodAt makes the special file name in dirfd; mode is as st_mode.
func MknodAt(dirfd int, name string, mode uint32, rdev uint64) error {
	return unix.Mknodat(dirfd, name, mode, int(rdev))
}

// MakeDevice returns the device number, and false for what Linux has no number
// for: it counts 12 bits and 20 bits.
func MakeDevice(major, minor int64) (uint64, bool) {
	if major < 0 || major >= 1<<12 || minor < 0 || minor >= 1<<20 {
		return 0, false
	}
	return unix.Mkdev(uint32(major), uint32(minor)), true
}

// UnlinkAt removes name in dirfd, which is no directory.
func UnlinkAt(dirfd int, name string) error { return unix.Unlinkat(dirfd, name, 0) }

// RmdirAt removes the empty directory name in dirfd.
func RmdirAt(dirfd int, name string) error { return unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR) }

// ChownAt changes the owner of name in dirfd, of dirfd itself if name is empty.
// The kernel takes setuid, setgid and capabilities away with it.
func ChownAt(dirfd int, name string, uid, gid uint32) error {
	if name == "" {
		return unix.Fchown(dirfd, int(uid), int(gid))
	}
	return unix.Fchownat(dirfd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
}

// ChmodAt changes the permission bits of name in dirfd, of dirfd itself if name
// is empty. A symbolic link gives an error.
func ChmodAt(dirfd int, name string, mode uint32) error {
	if name == "" {
		return unix.Fchmod(dirfd, mode)
	}
	err := unix.Fchmodat(dirfd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err != unix.EOPNOTSUPP && err != unix.EPERM { // EPERM: a seccomp filter, perhaps
		return err
	}
	// Before fchmodat2 (6.6): through a descriptor of the inode itself.
	fd, err := openAt(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer Close(fd)
	var st Stat
	if err := UsageAt(fd, "", &st); err != nil {
		return err
	}
	if st.Format() == Link {
		return unix.EOPNOTSUPP
	}
	return unix.Chmod(descriptor(fd), mode)
}

// SetTimesAt sets access and modification time of name in dirfd, of dirfd itself
// if name is empty. What a file system can't hold it rounds.
func SetTimesAt(dirfd int, name string, atime, mtime Timespec) error {
	var c cname
	if errno := c.set(name); errno != 0 {
		return errno
	}
	times := [2]struct{ sec, nsec int64 }{ // struct __kernel_timespec
		{atime.Sec, int64(atime.Nsec)}, {mtime.Sec, int64(mtime.Nsec)},
	}
	if _, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		if name == "" { // without a name the call takes no flags
			return syscall.Syscall6(sysUtimensat, uintptr(dirfd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		}
		return syscall.Syscall6(sysUtimensat, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
			uintptr(unsafe.Pointer(&times)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	}); errno != 0 {
		return errno
	}
	return nil
}

// PwriteFull writes all of b at off.
func PwriteFull(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n := 0
		if err := Retry(func() (err error) { n, err = unix.Pwrite(fd, b, off); return err }); err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// Truncate sets the size of the file fd.
func Truncate(fd int, size int64) error {
	return Retry(func() error { return unix.Ftruncate(fd, size) })
}
