//go:build 386 || arm

package floor

import "golang.org/x/sys/unix"

// sysFstatat fills syscall.Stat_t, which has 64-bit sizes here too.
const sysFstatat = unix.SYS_FSTATAT64
