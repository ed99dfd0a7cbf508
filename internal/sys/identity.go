package sys

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity is what statx(2) says about which inode a name leads to.
type Identity struct {
	Mode         uint32 // type and permission bits, as st_mode
	UID, GID     uint32
	Nlink        uint32
	Dev, Ino     uint64
	Size         int64
	Mtime        Timespec
	Ctime, Btime Timespec
	HasBtime     bool
	// Mount is the id of the mount in which the name is found; 0 before Linux 5.8. Unique:
	// it is never used again, and larger than those of all older mounts (Linux 6.8).
	Mount  uint64
	Unique bool
	// Whiteout: a character device 0:0.
	Whiteout bool
}

// Format returns the file type bits of the mode.
func (i *Identity) Format() uint32 { return i.Mode & unix.S_IFMT }

// SameInode reports whether two identities, both taken outside of an overlay, are of one
// inode: also if its number was used before.
func (i *Identity) SameInode(o *Identity) bool {
	return i.Dev == o.Dev && i.Ino == o.Ino && i.Format() == o.Format() && (!i.HasBtime || !o.HasBtime || i.Btime == o.Btime)
}

const mountIDUnique = 0x4000 // STATX_MNT_ID_UNIQUE

// IdentityAt fills id for name in dirfd (for dirfd itself if name is empty), not
// following a symbolic link.
func IdentityAt(dirfd int, name string, id *Identity) error {
	var c cname
	if errno := c.set(name); errno != 0 {
		return errno
	}
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID | mountIDUnique
	var x unix.Statx_t
	if _, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(&c)), uintptr(flags), mask, uintptr(unsafe.Pointer(&x)), 0)
	}); errno != 0 {
		return errno
	}
	*id = Identity{
		Mode: uint32(x.Mode), UID: x.Uid, GID: x.Gid, Nlink: x.Nlink,
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Size: int64(x.Size),
		Mtime: Timespec{x.Mtime.Sec, x.Mtime.Nsec},
		Ctime: Timespec{x.Ctime.Sec, x.Ctime.Nsec}, Btime: Timespec{x.Btime.Sec, x.Btime.Nsec},
		HasBtime: x.Mask&unix.STATX_BTIME != 0,
		Whiteout: x.Mode&unix.S_IFMT == unix.S_IFCHR && x.Rdev_major == 0 && x.Rdev_minor == 0,
	}
	if x.Mask&(unix.STATX_MNT_ID|mountIDUnique) != 0 {
		id.Mount, id.Unique = x.Mnt_id, x.Mask&mountIDUnique != 0
	}
	return nil
}

// FIDAt is [HandleAt] for handles that identify an inode but need not open it
// (AT_HANDLE_FID, Linux 6.5; on an overlay since 6.6). An empty name is dirfd itself.
func FIDAt(dirfd int, name string) (Handle, error) {
	const handleFID = 0x200 // AT_HANDLE_FID
	return handleAt(dirfd, name, handleFID)
}

// ReadDirSome is [ReadDir] for the first entries: as many as fit into a small buffer, some
// dozens, however large the directory is.
//
// One call does not have to fill the buffer: since Linux 4.7 (1f60fbe72749) getdents64 returns
// what it has when a signal is pending, and the Go runtime sends signals to its threads.
func ReadDirSome(fd int, visit func(d Dirent) bool) error {
	const longest = 24 + 256 // the record of a name of NAME_MAX bytes
	var b [2048]byte
	for rest := b[:]; len(rest) >= longest; {
		n, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall(unix.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)))
		})
		switch {
		case errno != 0:
			return errno
		case n == 0 || !parseDirents(rest[:n], visit):
			return nil
		}
		rest = rest[n:]
	}
	return nil
}

// CopiesInodes reports whether the file system of fd can have copies of one inode that
// equal it in number and all times: snapshots within one file system.
func CopiesInodes(fd int) bool {
	const bcachefs, zfs = 0xca451a4e, 0x2fc12fc1
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return true
	}
	switch magic(&st) {
	case unix.BTRFS_SUPER_MAGIC, bcachefs, zfs:
		return true
	}
	return false
}

// PathOf returns the path of what fd has open, as /proc shows it: from the root of this
// process, if it can be reached from there.
func PathOf(fd int) (string, error) { return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)) }

// LinkCtime returns when the inode at the end of a path, a symbolic link if it is one, was
// changed last.
func LinkCtime(path string) (Timespec, error) {
	var x unix.Statx_t
	err := Retry(func() error {
		return unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_CTIME, &x)
	})
	return Timespec{x.Ctime.Sec, x.Ctime.Nsec}, err
}
