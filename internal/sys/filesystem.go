package sys

import (
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FileSystemID returns the UUID of the file system of fd, and false if it has
// none or does not tell (FS_IOC_GETFSUUID is Linux 6.9; btrfs and xfs have calls of
// their own).
func FileSystemID(fd int) (id [16]byte, ok bool) {
	var uuid struct {
		length uint8
		id     [16]byte
	}
	if ioctl(fd, getFSUUID, unsafe.Pointer(&uuid)) == 0 && uuid.length == 16 {
		return uuid.id, true
	}
	var btrfs struct {
		maxID, devices uint64
		fsid           [16]byte
		rest           [1024 - 32]byte
	}
	if ioctl(fd, btrfsFSInfo, unsafe.Pointer(&btrfs)) == 0 {
		return btrfs.fsid, true
	}
	var xfs struct {
		_    [64]byte
		uuid [16]byte
		_    [256 - 80]byte
	}
	if ioctl(fd, xfsGeometry, unsafe.Pointer(&xfs)) == 0 {
		return xfs.uuid, true
	}
	return id, false
}

// MayHaveID returns a function that reports whether a UUID can be that of the file system
// of fd. It is sure where [FileSystemID] knows the UUID. Where statfs has a sum of its
// halves (ext4, and tmpfs since 5.13, 59cda49ecf6c), the sum must be right; without, every
// UUID can be it. known reports whether it is sure.
func MayHaveID(fd int) (may func(id [16]byte) bool, known bool) {
	if own, ok := FileSystemID(fd); ok {
		return func(id [16]byte) bool { return id == own }, true
	}
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) == nil {
		sum := uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32
		switch {
		case magic(&st) == unix.EXT4_SUPER_MAGIC, magic(&st) == unix.TMPFS_MAGIC && sum != 0:
			return func(id [16]byte) bool {
				return binary.LittleEndian.Uint64(id[:8])^binary.LittleEndian.Uint64(id[8:]) == sum
			}, false
		case magic(&st) == unix.TMPFS_MAGIC: // it has a random one (4.13, 2b4db79618ad)
			return func(id [16]byte) bool { return id != [16]byte{} }, false
		}
	}
	return func([16]byte) bool { return true }, false
}

// SharesExtents reports whether files of a and b may have their data in the same
// blocks: they are on one device, or in subvolumes of one btrfs.
func SharesExtents(a, b int) bool {
	same, err := oneDevice(a, b)
	if err != nil || same {
		return same
	}
	if !isOn(a, unix.BTRFS_SUPER_MAGIC) {
		return false
	}
	idA, okA := FileSystemID(a)
	idB, okB := FileSystemID(b)
	return okA && okB && idA == idB
}

func oneDevice(a, b int) (bool, error) {
	var sa, sb Stat
	err := errors.Join(UsageAt(a, "", &sa), UsageAt(b, "", &sb))
	return err == nil && sa.Dev == sb.Dev, err
}

// NumbersInodes reports whether the file system of fd is known to have each
// inode number once: the subvolumes of btrfs, for one, have the same ones.
func NumbersInodes(fd int) bool {
	return isOn(fd, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC)
}

// ErrNoFileSystemID says that a file system does not tell which one it is.
var ErrNoFileSystemID = errors.New("the file system does not tell its UUID")

// SameFileSystem reports whether the file systems of a and b have one UUID: they
// are one, or copies of one, block by block.
func SameFileSystem(a, b int) (bool, error) {
	if same, err := oneDevice(a, b); err != nil || same {
		return same, err
	}
	var sa, sb unix.Statfs_t
	if err := errors.Join(unix.Fstatfs(a, &sa), unix.Fstatfs(b, &sb)); err != nil || sa.Type != sb.Type {
		return false, err
	}
	idA, okA := lineage(a, &sa)
	idB, okB := lineage(b, &sb)
	if !okA || !okB {
		return false, ErrNoFileSystemID
	}
	return idA == idB, nil
}

// lineage is the UUID, or what is made from it, also on kernels before 6.9.
func lineage(fd int, st *unix.Statfs_t) (id [16]byte, ok bool) {
	if id, ok = FileSystemID(fd); ok {
		return id, true
	}
	if magic(st) == unix.EXT4_SUPER_MAGIC { // f_fsid is made from the UUID, not from the device
		id[0] = 1
		copy(id[1:], unsafe.Slice((*byte)(unsafe.Pointer(&st.Fsid)), unsafe.Sizeof(st.Fsid)))
		return id, true
	}
	return id, false
}

// magic returns the type of a file system as the constants of linux/magic.h have it. The
// kernel's field has other widths and signs on other architectures.
func magic(st *unix.Statfs_t) uint32 { return uint32(st.Type) }

// isOn reports whether fd is on a file system of one of these types, see [magic].
func isOn(fd int, types ...uint32) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && slices.Contains(types, magic(&st))
}
