package inode

import (
	"errors"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
)

// ErrSwapped says that another inode took the place of the one that stat saw.
var ErrSwapped = fswalk.ErrSwapped

// Vanished reports whether err says that an inode which was seen is no longer
// there, or another is in its place.
func Vanished(err error) bool {
	return !IsRefused(err) && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, ErrSwapped))
}

// Refused is an error with which overlayfs refuses to look up a name, whatever
// its errno otherwise means.
type Refused struct{ Err error }

func (r Refused) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r Refused) Unwrap() error { return r.Err }

// IsRefused reports whether overlayfs refuses to look up a name.
func IsRefused(err error) bool { return err != nil && errors.As(err, new(Refused)) }

// Unreadable reports whether err is the fault of one name, so that a walk can go on
// beside it: overlayfs refuses it, or the file system can't read its inode.
func Unreadable(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.EUCLEAN, syscall.EBADMSG} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return IsRefused(err)
}
