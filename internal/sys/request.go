package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The direction bits of an ioctl request (asm/ioctl.h) differ between architectures: powerpc
// and mips have others than the rest. They are the three highest bits of any request that
// x/sys knows, as long as its argument is smaller than 8 KiB.
const (
	directionBits = 7 << 29
	ioctlRead     = unix.FS_IOC_GETFLAGS & directionBits // the kernel writes to the argument
	ioctlWrite    = unix.FS_IOC_SETFLAGS & directionBits // the kernel reads the argument
)

// request composes an ioctl request as _IOC does: from direction, group, number and the size
// of what C declares as the argument.
func request(direction uintptr, group byte, number, size uintptr) uintptr {
	return direction | size<<16 | uintptr(group)<<8 | number
}

// Requests of more than one caller, or of tests.
var (
	getFSUUID   = request(ioctlRead, 0x15, 0, 17)            // FS_IOC_GETFSUUID: struct fsuuid2
	getXFlags   = request(ioctlRead, 'X', 31, 28)            // FS_IOC_FSGETXATTR: struct fsxattr
	setXFlags   = request(ioctlWrite, 'X', 32, 28)           // FS_IOC_FSSETXATTR: struct fsxattr
	getExtents  = request(ioctlRead|ioctlWrite, 'f', 11, 32) // FS_IOC_FIEMAP: struct fiemap, without extents
	getVerity   = request(ioctlRead|ioctlWrite, 'f', 134, 4) // FS_IOC_MEASURE_VERITY: struct fsverity_digest, without the digest
	btrfsFSInfo = request(ioctlRead, 0x94, 31, 1024)         // BTRFS_IOC_FS_INFO: struct btrfs_ioctl_fs_info_args
	xfsGeometry = request(ioctlRead, 'X', 126, 256)          // XFS_IOC_FSGEOMETRY (5.2): struct xfs_fsop_geom
)

// ioctl calls ioctl(2) with a request that writes to arg.
func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	})
	return errno
}
