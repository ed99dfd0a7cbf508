package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Masks for [StatAt]: the less is asked for, the less a file system must look up.
const (
	StatAll   = unix.STATX_BASIC_STATS
	StatInode = unix.STATX_INO
	StatLinks = unix.STATX_NLINK
)

// Timespec is seconds and nanoseconds since 1970.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// After reports whether t is later than u.
func (t Timespec) After(u Timespec) bool { return t.Sec > u.Sec || t.Sec == u.Sec && t.Nsec > u.Nsec }

// Stat is what statx tells of an inode.
type Stat struct {
	Mode         uint32 // type and permission bits, as st_mode
	UID, GID     uint32
	Nlink        uint32
	Dev, Ino     uint64
	Rdev         uint64
	Size         int64
	Blocks       int64 // of 512 bytes
	Mtime, Ctime Timespec
	// Immutable, AppendOnly and NoDump are attributes of the file (chattr(1)), where
	// the file system tells them here (4.11).
	Immutable, AppendOnly, NoDump bool
	// Mount is the id of the mount that was asked (5.8), 0 before. One inode may show
	// other owners on another mount: that may be id-mapped.
	Mount uint64
	// MountRoot: something is mounted here and hides the inode of the tree (5.8).
	MountRoot bool
}

// Format returns the file type bits of the mode.
func (s *Stat) Format() uint32 { return s.Mode & unix.S_IFMT }

// File type bits as [Stat.Format] returns them.
const (
	Regular   = unix.S_IFREG
	Directory = unix.S_IFDIR
	Link      = unix.S_IFLNK
	Char      = unix.S_IFCHR
	Block     = unix.S_IFBLK
	Fifo      = unix.S_IFIFO
	Sock      = unix.S_IFSOCK
)

// StatAt fills st with what statx(2) says of name in dirfd, not following a
// symbolic link and not triggering automounts. An empty name is dirfd itself.
func StatAt(dirfd int, name string, mask int, st *Stat) error {
	var c cname
	if errno := c.set(name); errno != 0 {
		return errno
	}
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var x unix.Statx_t
	if _, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
			uintptr(flags), uintptr(mask), uintptr(unsafe.Pointer(&x)), 0)
	}); errno != 0 {
		return errno
	}
	*st = Stat{
		Mode: uint32(x.Mode), UID: x.Uid, GID: x.Gid, Nlink: x.Nlink,
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino,
		Rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor),
		Size: int64(x.Size), Blocks: int64(x.Blocks),
		Mtime:     Timespec{x.Mtime.Sec, x.Mtime.Nsec},
		Ctime:     Timespec{x.Ctime.Sec, x.Ctime.Nsec},
		Mount:     x.Mnt_id,
		MountRoot: x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		Immutable: x.Attributes&unix.STATX_ATTR_IMMUTABLE != 0, AppendOnly: x.Attributes&unix.STATX_ATTR_APPEND != 0,
		NoDump: x.Attributes&unix.STATX_ATTR_NODUMP != 0,
	}
	return nil
}

// UsageAt is [StatAt] for measuring: it leaves times, attributes, Mount and MountRoot unset. The
// older calls that it makes are a tenth cheaper than statx.
func UsageAt(dirfd int, name string, st *Stat) error {
	var c cname
	if errno := c.set(name); errno != 0 {
		return errno
	}
	var s unix.Stat_t
	switch _, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		if name == "" {
			return syscall.Syscall(sysFstat, uintptr(dirfd), uintptr(unsafe.Pointer(&s)), 0)
		}
		return syscall.Syscall6(sysFstatat, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
			uintptr(unsafe.Pointer(&s)), unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, 0)
	}); errno {
	case 0:
	case syscall.ENOSYS: // loongarch before 6.11
		return StatAt(dirfd, name, StatAll, st)
	default:
		return errno
	}
	*st = Stat{
		Mode: s.Mode, UID: s.Uid, GID: s.Gid, Nlink: uint32(s.Nlink), Dev: s.Dev, Ino: s.Ino,
		Rdev: s.Rdev, Size: s.Size, Blocks: s.Blocks,
	}
	return nil
}

// IsCasefolded reports whether names in the directory fd match whatever their
// case. File systems without such flags say no.
func IsCasefolded(fd int) bool {
	const casefold = 0x40000000 // FS_CASEFOLD_FL
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return err == nil && flags&casefold != 0
}

// IsOverlay reports whether fd is on an overlay.
func IsOverlay(fd int) bool { return isOn(fd, unix.OVERLAYFS_SUPER_MAGIC) }

// IsCgroup reports whether fd is in a hierarchy of control groups, of either version.
func IsCgroup(fd int) bool { return isOn(fd, unix.CGROUP2_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC) }

// IsProc reports whether fd is on a proc file system.
func IsProc(fd int) bool { return isOn(fd, unix.PROC_SUPER_MAGIC) }

// IsFuse reports whether fd is on a FUSE file system, whose server makes up the
// owners.
func IsFuse(fd int) bool { return isOn(fd, unix.FUSE_SUPER_MAGIC) }

// Exists reports whether dirfd has an entry of that name, whatever it is.
func Exists(dirfd int, name string) (bool, error) {
	var st Stat
	switch err := StatAt(dirfd, name, StatInode, &st); err { //nolint:errorlint // sys returns it bare
	case nil:
		return true, nil
	case syscall.ENOENT, syscall.ENAMETOOLONG:
		return false, nil
	default:
		return false, err
	}
}

// IsWritable reports whether entries can be made in the directory fd.
func IsWritable(fd int) bool {
	return unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// MajorMinor returns the parts of a device number.
func MajorMinor(dev uint64) (major, minor int64) {
	return int64(unix.Major(dev)), int64(unix.Minor(dev))
}
