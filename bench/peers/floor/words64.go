//go:build !386 && !arm

package floor

import "golang.org/x/sys/unix"

// sysFstatat is the call that words32.go has another of.
const sysFstatat = unix.SYS_NEWFSTATAT
