//go:build !386 && !arm

package sys

import "golang.org/x/sys/unix"

// The calls that words32.go has others of.
const (
	sysFstat     = unix.SYS_FSTAT
	sysFstatat   = unix.SYS_NEWFSTATAT
	sysUtimensat = unix.SYS_UTIMENSAT
)
