package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProjectQuota reports whether project quotas are counted on the file system of
// fd. ENOSYS says that the kernel has no quotactl_fd (5.14).
func ProjectQuota(fd int) (bool, error) {
	const (
		getState = (0x5800+8)<<8 | 2 // QCMD(Q_XGETQSTATV, PRJQUOTA)
		version  = 1                 // FS_QSTATV_VERSION1
		counted  = 1 << 4            // FS_QUOTA_PDQ_ACCT
	)
	state := struct { // struct fs_quota_statv
		version uint8
		_       uint8
		flags   uint16
		_       [156]byte
	}{version: version}
	_, _, errno := syscall.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), getState, 0, uintptr(unsafe.Pointer(&state)), 0, 0)
	switch errno {
	case 0:
		return state.flags&counted != 0, nil
	case syscall.ENOSYS:
		// Also said of a file system without quotas, or with none switched on.
		const nobody = ^uintptr(0)
		if _, _, errno = syscall.Syscall6(unix.SYS_QUOTACTL_FD, nobody, getState, 0, 0, 0, 0); errno != syscall.ENOSYS {
			return false, nil
		}
	}
	return false, errno
}
