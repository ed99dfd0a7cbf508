package inode

import (
	"context"
	"errors"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Refusal makes an error that overlayfs itself has for a name, and no other file system
// has for stat or for opening a directory, [Refused]; others are returned as they are.
// It is for trees on an overlay. EACCES is that of a redirect with a component "..",
// unless this process may not search the directory.
func Refusal(err error) error {
	switch {
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.EACCES) && sys.SeesTrusted():
		return Refused{Err: err}
	}
	return err
}

// List lists a directory of an overlay. Reading it fails with the error of the first name
// that can't be looked up, and leaves that out when it is read again, for as long as the
// directory stays open (ovl_cache_update, Linux 6.18).
func List(ctx context.Context, d *fswalk.Dir) ([]sys.Dirent, error) {
	list, err := d.List(ctx)
	own := d.Child(".", 0, 0) // a root is listed by another descriptor each time
	if err == nil || Vanished(err) || !own.Hold() {
		return list, err
	}
	defer own.Release()
	for tries := 0; err != nil && tries < mostLeftOut && ctx.Err() == nil; tries++ {
		list, err = own.List(ctx)
	}
	return list, err
}

// mostLeftOut is how many names of a directory may be left out before its error is taken
// for its own.
const mostLeftOut = 100
