package sys

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noSetXattrAt is as noXattrAt; the calls came with one kernel, but not through
// one filter.
var noSetXattrAt atomic.Bool

// SetXattr sets an extended attribute of name in dirfd, not following a symbolic
// link, or of dirfd itself if name is empty.
func SetXattr(dirfd int, name, attr string, value []byte) error {
	if name == "" {
		return unix.Fsetxattr(dirfd, attr, value, 0)
	}
	var a, c cname
	if errno := a.set(attr); errno != 0 {
		return errno
	}
	if errno := c.set(name); errno != 0 {
		return errno
	}
	if !noSetXattrAt.Load() {
		// The address goes to the kernel inside a struct, where Go would not mend
		// it if a stack moved: it must be of the heap.
		heap := append([]byte{}, value...)
		args := xattrArgs{value: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(heap)))), size: uint32(len(heap))}
		_, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall6(unix.SYS_SETXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
				unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		})
		runtime.KeepAlive(heap)
		switch errno {
		case 0:
			return nil
		case syscall.ENOSYS:
			noSetXattrAt.Store(true)
		case syscall.EPERM: // a seccomp filter, perhaps; the old call tells
		default:
			return errno
		}
	}
	return unix.Lsetxattr(descriptor(dirfd)+"/"+name, attr, value, 0)
}

// RemoveXattr takes an extended attribute off name in dirfd, not following a
// symbolic link, or off dirfd itself if name is empty. That there is none is no
// error.
func RemoveXattr(dirfd int, name, attr string) error {
	var err error
	if name == "" {
		err = unix.Fremovexattr(dirfd, attr)
	} else {
		err = unix.Lremovexattr(descriptor(dirfd)+"/"+name, attr)
	}
	switch err {
	case unix.ENODATA, unix.EOPNOTSUPP:
		return nil
	default:
		return err
	}
}

// descriptor is the path of an open file.
func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
