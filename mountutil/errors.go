//go:build linux

package mountutil

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// OptionError says that a mount option is malformed, given twice, in conflict
// with another one, or unknown: the fault is in the option string, nothing
// was tried.
type OptionError struct {
	Option string // the option's name: "redirect_dir"
	Reason string // what is wrong with it, and what to write instead
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("parse mount option %s: %s", diff.QuotePath(e.Option), e.Reason)
}

// pathError returns a *fs.PathError and the remedy in one line, whatever bytes
// the path has.
func pathError(op, path string, err error, remedy string) error {
	return fmt.Errorf("%w; %s", &fs.PathError{Op: op, Path: diff.QuotePath(path), Err: err}, remedy)
}

// and returns both errors, of which either may be nil, in one line.
func and(err, cleanup error) error {
	switch {
	case cleanup == nil:
		return err
	case err == nil:
		return cleanup
	}
	return fmt.Errorf("%w; and %w", err, cleanup)
}

// mountError explains why the kernel refused to do op.
func mountError(op string, err error) error {
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
