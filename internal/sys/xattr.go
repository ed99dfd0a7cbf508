package sys

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxXattr is XATTR_SIZE_MAX and XATTR_LIST_MAX: no value or list is longer.
	maxXattr = 64 << 10
	// usualXattr is what is offered first: the kernel allocates, and clears, as
	// much as it is offered, which for the maximum costs more than all the rest.
	usualXattr = 256
)

// xattrBuffers has the buffers that the kernel writes values and lists to.
// They are on the heap, because getxattrat takes the address inside a struct,
// where Go would not mend it if a stack moved.
var xattrBuffers = sync.Pool{New: func() any { return new([maxXattr]byte) }}

// noXattrAt is set once the kernel said ENOSYS to getxattrat (older than 6.13).
// Other refusals, of a seccomp filter for instance, are not remembered.
var noXattrAt atomic.Bool

// GetXattr returns the value of an extended attribute of name in dirfd (of
// dirfd itself if name is empty). ok is false if there is no such attribute or
// the file system has none at all.
func GetXattr(dirfd int, name, attr string) (value []byte, ok bool, err error) {
	b, _ := xattrBuffers.Get().(*[maxXattr]byte)
	defer xattrBuffers.Put(b)
	n, errno := getxattr(dirfd, name, attr, b[:usualXattr])
	if errno == syscall.ERANGE {
		n, errno = getxattr(dirfd, name, attr, b[:])
	}
	switch errno {
	case 0:
		return append([]byte{}, b[:n]...), true, nil
	case syscall.ENODATA, syscall.EOPNOTSUPP:
		return nil, false, nil
	}
	return nil, false, errno
}

// FindXattr is [GetXattr] for attributes that hardly anything has: it asks
// whether there is one first, which spares the kernel a buffer.
func FindXattr(dirfd int, name, attr string) (value []byte, ok bool, err error) {
	if ok, err = HasXattr(dirfd, name, attr); !ok || err != nil {
		return nil, false, err
	}
	return GetXattr(dirfd, name, attr)
}

// HasXattr reports whether name in dirfd (dirfd itself if name is empty) has
// the extended attribute.
func HasXattr(dirfd int, name, attr string) (bool, error) {
	_, errno := getxattr(dirfd, name, attr, nil)
	switch errno {
	case 0:
		return true, nil
	case syscall.ENODATA, syscall.EOPNOTSUPP:
		return false, nil
	}
	return false, errno
}

// ListXattr returns the names of all extended attributes of name in dirfd (of
// dirfd itself if name is empty), in the order of the file system.
func ListXattr(dirfd int, name string) ([]string, error) {
	b, _ := xattrBuffers.Get().(*[maxXattr]byte)
	defer xattrBuffers.Put(b)
	n, errno := listxattr(dirfd, name, b[:usualXattr])
	if errno == syscall.ERANGE {
		n, errno = listxattr(dirfd, name, b[:])
	}
	switch {
	case errno == syscall.EOPNOTSUPP, errno == 0 && n == 0:
		return nil, nil
	case errno != 0:
		return nil, errno
	}
	return strings.Split(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00"), nil
}

// xattrArgs is struct xattr_args of getxattrat(2).
type xattrArgs struct {
	value       uint64
	size, flags uint32
}

// getxattr and listxattr write to b, which must be on the heap.
func getxattr(dirfd int, name, attr string, b []byte) (int, syscall.Errno) {
	if attr == "" { // a mark that this kind of layer does not have
		return 0, syscall.ENODATA
	}
	var a cname
	if errno := a.set(attr); errno != 0 {
		return 0, errno
	}
	to, size := unsafe.SliceData(b), uintptr(len(b))
	if name == "" {
		return repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall6(unix.SYS_FGETXATTR, uintptr(dirfd), uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(to)), size, 0, 0)
		})
	}
	if !noXattrAt.Load() {
		var c cname
		if errno := c.set(name); errno != 0 {
			return 0, errno
		}
		args := xattrArgs{value: uint64(uintptr(unsafe.Pointer(to))), size: uint32(size)}
		n, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall6(unix.SYS_GETXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
				unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		})
		if answered(errno) {
			return n, errno
		}
	}
	var p procPath
	if errno := p.set(dirfd, name); errno != 0 {
		return 0, errno
	}
	return repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall6(unix.SYS_LGETXATTR, uintptr(unsafe.Pointer(&p)), uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(to)), size, 0, 0)
	})
}

func listxattr(dirfd int, name string, b []byte) (int, syscall.Errno) {
	to, size := unsafe.SliceData(b), uintptr(len(b))
	if name == "" {
		return repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall(unix.SYS_FLISTXATTR, uintptr(dirfd), uintptr(unsafe.Pointer(to)), size)
		})
	}
	if !noXattrAt.Load() {
		var c cname
		if errno := c.set(name); errno != 0 {
			return 0, errno
		}
		n, errno := repeat(func() (uintptr, uintptr, syscall.Errno) {
			return syscall.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dirfd), uintptr(unsafe.Pointer(&c)),
				unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(to)), size, 0)
		})
		if answered(errno) {
			return n, errno
		}
	}
	var p procPath
	if errno := p.set(dirfd, name); errno != 0 {
		return 0, errno
	}
	return repeat(func() (uintptr, uintptr, syscall.Errno) {
		return syscall.Syscall(unix.SYS_LLISTXATTR, uintptr(unsafe.Pointer(&p)), uintptr(unsafe.Pointer(to)), size)
	})
}

// answered reports whether errno is an answer of getxattrat or listxattrat, not
// a sign that the call is missing or filtered.
func answered(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOSYS:
		noXattrAt.Store(true)
		return false
	case syscall.EPERM: // a seccomp filter, perhaps; the old call tells
		return false
	}
	return true
}

// procPath names a file for the calls that take a path only, on the caller's
// stack. The link in /proc leads to the open directory itself; the name is the
// last component and is not followed.
type procPath [300]byte

func (p *procPath) set(dirfd int, name string) syscall.Errno {
	var c cname // for its check of the name
	if errno := c.set(name); errno != 0 {
		return errno
	}
	b := append(p[:0], "/proc/self/fd/"...)
	b = strconv.AppendInt(b, int64(dirfd), 10)
	b = append(append(b, '/'), name...)
	p[len(b)] = 0
	return 0
}
