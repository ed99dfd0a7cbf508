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
// An empty name is dirfd itself.
func HandleAt(dirfd int, name string) (Handle, error) { return handleAt(dirfd, name, 0) }

func handleAt(dirfd int, name string, flags int) (Handle, error) {
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	for {
		h, _, err := unix.NameToHandleAt(dirfd, name, flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Handle{}, err
		}
		return Handle{Type: h.Type(), ID: string(h.Bytes())}, nil
	}
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
