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

// CopyProject gives the directory to the project id of the directory from, and
// whether it is passed on to what is made in it. A file system without projects
// has nothing to copy.
func CopyProject(from, to int) error {
	type fsxattr struct { // struct fsxattr
		flags, extsize, nextents, project, cowextsize uint32
		_                                             [8]byte
	}
	const inherit = 0x200 // FS_XFLAG_PROJINHERIT
	var a, b fsxattr
	if ioctl(from, getXFlags, unsafe.Pointer(&a)) != 0 || a.project == 0 && a.flags&inherit == 0 {
		return nil
	}
	if errno := ioctl(to, getXFlags, unsafe.Pointer(&b)); errno != 0 {
		return errno
	}
	b.project, b.flags = a.project, b.flags|a.flags&inherit
	if errno := ioctl(to, setXFlags, unsafe.Pointer(&b)); errno != 0 {
		return errno
	}
	return nil
}
