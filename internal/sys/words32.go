//go:build 386 || arm

package sys

import "golang.org/x/sys/unix"

// The calls of 32-bit architectures that have 64-bit sizes and times: the ones without a
// number in their names have smaller ones, or another layout.
const (
	sysFstat     = unix.SYS_FSTAT64
	sysFstatat   = unix.SYS_FSTATAT64
	sysUtimensat = unix.SYS_UTIMENSAT_TIME64 // 5.1
)
