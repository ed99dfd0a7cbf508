package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// SeesTrusted reports whether this process can read trusted.* extended attributes,
// see [TryTrusted].
func SeesTrusted() bool { return TryTrusted() == nil }

// TryTrusted returns nil if this process can read trusted.* extended attributes, EPERM
// if it can't, and another error if that could not be told. Without CAP_SYS_ADMIN in
// the initial user namespace they look as if they weren't there, so that must be known
// before their absence means anything. It is found out by setting one on a memory file.
func TryTrusted() error {
	err := eintr(func() syscall.Errno {
		fd, err := unix.MemfdCreate("overlaydiff", unix.MFD_CLOEXEC)
		if err != nil {
			return asErrno(err)
		}
		defer Close(fd)
		return asErrno(unix.Fsetxattr(fd, "trusted.overlaydiff", []byte{'y'}, 0))
	})
	switch err {
	case nil, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSPC, unix.EIO:
		return err
	}
	return unix.EPERM // or what filters and old kernels say instead
}
