package sys

import "syscall"

// cname holds a name with its final NUL on the caller's stack.
type cname [256]byte

// set copies name; names that the kernel could not hold either are refused.
func (c *cname) set(name string) syscall.Errno {
	if len(name) >= len(c) {
		return syscall.ENAMETOOLONG
	}
	for i := range len(name) {
		if name[i] == 0 {
			return syscall.EINVAL
		}
	}
	copy(c[:], name)
	c[len(name)] = 0
	return 0
}

// repeat makes a system call, and again while signals interrupt it. It returns the call's
// first result and its error number. All calls that can wait go through it.
func repeat(call func() (uintptr, uintptr, syscall.Errno)) (int, syscall.Errno) {
	for {
		n, _, errno := call()
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// Retry is repeat for calls of package unix. What it returns is a [syscall.Errno].
func Retry(call func() error) error {
	_, errno := repeat(func() (uintptr, uintptr, syscall.Errno) { return 0, 0, asErrno(call()) })
	if errno != 0 {
		return errno
	}
	return nil
}
