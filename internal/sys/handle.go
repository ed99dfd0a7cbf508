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
	var c cname
	if errno := c.set(name); errno != 0 {
		return Handle{}, errno
	}
	// struct file_handle with room for MAX_HANDLE_SZ: x/sys/unix offers less at first, which
	// takes two calls for an overlay's.
	var h struct {
		size uint32
		kind int32
		id   [128]byte
	}
	h.size = uint32(len(h.id))
	var mount int32
	_, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
			uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&mount)), uintptr(flags), 0)
	})
	if errno != 0 {
		return Handle{}, errno
	}
	return Handle{Type: h.kind, ID: string(h.id[:min(h.size, uint32(len(h.id)))])}, nil
}

// ScriptNumbers returns the two numbers with which a script can ask for a handle and for a file
// system's UUID: of the system call name_to_handle_at and of the ioctl request FS_IOC_GETFSUUID.
// Both differ between architectures.
func ScriptNumbers() (nameToHandleAt, getUUID uintptr) {
	return unix.SYS_NAME_TO_HANDLE_AT, getFSUUID
}

// OpenHandle opens the inode of a handle, whatever it is, as a path (O_PATH). mount is a
// descriptor on a mount of its file system. ESTALE says that there is no such inode any
// more; EPERM that it takes CAP_DAC_READ_SEARCH.
func OpenHandle(mount int, h Handle) (fd int, err error) {
	handle := unix.NewFileHandle(h.Type, []byte(h.ID))
	err = Retry(func() error {
		fd, err = unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		return err
	})
	return fd, err
}

// MeasureVerity returns the fs-verity digest of the file fd and its algorithm
// (1 SHA-256, 2 SHA-512). ENODATA says that the file is not protected,
// EOPNOTSUPP or ENOTTY that the file system or kernel has no fs-verity.
func MeasureVerity(fd int) (algorithm uint16, digest []byte, err error) {
	arg := struct {
		algorithm, size uint16
		digest          [64]byte
	}{size: 64}
	if errno := ioctl(fd, getVerity, unsafe.Pointer(&arg)); errno != 0 {
		return 0, nil, errno
	}
	return arg.algorithm, arg.digest[:min(arg.size, 64)], nil
}
