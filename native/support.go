package native

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// supported refuses what would be read wrongly.
func supported(s diff.Stack) error {
	switch {
	case s.Upper == "":
		return errNoUpper
	case len(s.Lower) == 0:
		return errors.New("read the layers: the stack has no lower directory to compare with")
	case s.Features.Fuse && (len(s.Data) > 0 || s.Features.RedirectFollow || s.Features.Metacopy || s.Features.Index || s.Features.NFSExport):
		return errors.New("read the layers: fuse-overlayfs has no redirects, metacopy files, index or data-only layers: leave these features out")
	case len(s.Unknown) > 0:
		return refuse("the mount option %s is not known here and may change what the layers mean", s.Unknown[0])
	}
	return nil
}

// openUpper opens the upper directory of s and makes sure that its marks can be
// seen.
func openUpper(s diff.Stack, mounts *mountutil.Mounts) (*mountutil.Tree, error) {
	tree, err := mounts.OpenTree(s.Upper)
	switch {
	case err == nil && s.Features.UserXattr:
		return tree, nil
	case errors.Is(err, fs.ErrPermission) && !s.Features.UserXattr && !sys.SeesTrusted():
		return nil, refuseTrusted(fs.ErrPermission)
	case err != nil:
		return nil, fmt.Errorf("open the upper directory: %w", err)
	}
	if s.Features.Fuse { // its marks may be trusted.* or user.*, and the latter tell nothing
		if err := sys.TryTrusted(); err != nil {
			_ = tree.Close()
			return nil, refuseTrusted(err)
		}
		return tree, nil
	}
	// The kernel leaves one of these in nearly every upper directory that was
	// mounted, and to look is a hundred times quicker than to set one.
	for _, name := range []string{"uuid", "impure", "origin"} {
		if is, err := sys.HasXattr(tree.FD(), "", whiteout.NamespaceOf(s.Features).Prefix+name); err == nil && is {
			return tree, nil
		}
	}
	if err := sys.TryTrusted(); err != nil {
		_ = tree.Close()
		return nil, refuseTrusted(err)
	}
	return tree, nil
}

var errNoUpper = &diff.SettingError{
	Setting: diff.SettingUpper, Err: errors.New("read the layers: the stack has no upper directory, so nothing can have been changed; name it"),
}

func refuseTrusted(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("find out whether trusted.overlay.* marks can be read: %w", err)
	}
	return &diff.SettingError{Setting: diff.SettingUserXattr, Err: &diff.UnsupportedError{
		Op: readLayers, Err: syscall.EPERM,
		Reason: "the trusted.overlay.* marks can't be seen without CAP_SYS_ADMIN in the initial user namespace; run as root, or say so if the overlay is mounted with userxattr",
	}}
}

const readLayers = "read the layers natively"

func refuse(format string, args ...any) error {
	return &diff.UnsupportedError{Op: readLayers, Reason: fmt.Sprintf(format, args...)}
}
