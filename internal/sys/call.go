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

// eintr repeats call while signals interrupt it.
func eintr(call func() syscall.Errno) error {
	for {
		switch errno := call(); errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}
