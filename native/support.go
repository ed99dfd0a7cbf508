package native

import (
	"errors"
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// supported refuses what would be read wrongly.
func supported(s diff.Stack) error {
	switch {
	case s.Upper == "":
		return errNoUpper
	case len(s.Lower) == 0:
		return errors.New("read the layers: the stack has no lower directory to compare with")
	case len(s.Unknown) > 0:
		return refuse("the mount option %s is not known here and may change what the layers mean", s.Unknown[0])
	case !s.Features.UserXattr && !sys.SeesTrusted():
		return refuseTrusted()
	}
	return nil
}

var errNoUpper = errors.New("read the layers: the stack has no upper directory, so nothing can have been changed; name it (--upper)")

func refuseTrusted() error {
	return refuse("the trusted.overlay.* marks can't be seen without CAP_SYS_ADMIN in the initial user namespace; run as root, or say so if the overlay is mounted with userxattr (--userxattr)")
}

func refuse(format string, args ...any) error {
	return &diff.UnsupportedError{Op: "read the layers natively", Reason: fmt.Sprintf(format, args...)}
}
