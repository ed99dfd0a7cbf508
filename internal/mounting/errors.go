package mounting

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Error explains why the kernel refused to do op, which tells what was to be mounted. It matches
// [diff.ErrUnsupported] where privileges or the kernel do not suffice.
func Error(op string, err error) error {
	unsupported := func(reason string) error { return &diff.UnsupportedError{Op: op, Reason: reason, Err: err} }
	switch {
	case errors.Is(err, unix.EACCES) && sys.SeesTrusted():
		return unsupported("the permissions of a layer's directory, or a security module, forbid it: run as root with CAP_DAC_OVERRIDE")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return unsupported("CAP_SYS_ADMIN is needed: run as root, or in a user namespace (unshare -Urm) with userxattr")
	case errors.Is(err, unix.ENODEV):
		return unsupported("this kernel has no overlay file system: load it with modprobe overlay")
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s: %w; a layer directory is named twice, or one lies in another: name each once", op, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w; the upper or work directory is in use by another mount: unmount that first", op, err)
	}
	return fmt.Errorf("%s: %w; the kernel's reason is in its log, see dmesg", op, err)
}
