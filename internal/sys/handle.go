package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Handle is a file handle: what identifies an inode within its file system,
// whatever its names. It can be compared and be a map's key.
type Handle struct {
	Type int32
	ID   string // opaque bytes
}

// HandleAt returns the handle of name in dirfd, not following a symbolic link.
// EOPNOTSUPP says that the file system has none.
func HandleAt(dirfd int, name string) (Handle, error) {
	for {
		h, _, err := unix.NameToHandleAt(dirfd, name, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Handle{}, err
		}
		return Handle{Type: h.Type(), ID: string(h.Bytes())}, nil
	}
}

// OpenHandle opens the inode of a handle, whatever it is, as a path (O_PATH). mount is a
// descriptor on a mount of its file system. ESTALE says that there is no such inode any
// more; EPERM that it takes CAP_DAC_READ_SEARCH.
func OpenHandle(mount int, h Handle) (fd int, err error) {
	handle := unix.NewFileHandle(h.Type, []byte(h.ID))
	err = eintr(func() syscall.Errno {
		fd, err = unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		return asErrno(err)
	})
	return fd, err
}

// ioctl calls ioctl(2) with a request that writes to arg.
func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	for {
		_, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		if errno != syscall.EINTR {
			return errno
		}
	}
}

// MeasureVerity returns the fs-verity digest of the file fd and its algorithm
// (1 SHA-256, 2 SHA-512). ENODATA says that the file is not protected,
// EOPNOTSUPP or ENOTTY that the file system or kernel has no fs-verity.
func MeasureVerity(fd int) (algorithm uint16, digest []byte, err error) {
	const measure = 0xc0046686 // FS_IOC_MEASURE_VERITY: struct fsverity_digest
	arg := struct {
		algorithm, size uint16
		digest          [64]byte
	}{size: 64}
	if errno := ioctl(fd, measure, unsafe.Pointer(&arg)); errno != 0 {
		return 0, nil, errno
	}
	return arg.algorithm, arg.digest[:min(arg.size, 64)], nil
}
