package native

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	case len(s.Data) > 0:
		return refuse("data-only lower layers are not read natively yet")
	case !s.Features.UserXattr && !sys.SeesTrusted():
		return refuseTrusted()
	case s.Features.NFSExport:
		return refuse("nfs_export=on ties directories to their origin by file handles, which is not read natively yet")
	case s.Features.Index:
		return refuseIndex(s.Work)
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

// refuseIndex refuses a work directory whose index has hard links: with
// index=on a changed inode shows at all names that it has in the lower layers,
// also where the upper has nothing. An index without entries proves that there
// is no such inode.
func refuseIndex(work string) error {
	if work == "" {
		return refuse("index=on, and the work directory with the index is not known")
	}
	entries, err := os.ReadDir(filepath.Join(work, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the inode index: %w", err)
	}
	for _, e := range entries {
		if isHandle(e.Name()) && !e.IsDir() && e.Type()&fs.ModeCharDevice == 0 {
			return refuse("index=on, and the index has hard links of lower files, whose other names are not read natively yet")
		}
	}
	return nil
}

// isHandle reports whether an index entry is named by a file handle; others are
// temporary files and the shared whiteout.
func isHandle(name string) bool {
	const least = 21 // bytes of the header before the file system's own handle
	if strings.HasPrefix(name, "#") || len(name) < 2*least {
		return false
	}
	_, err := hex.DecodeString(name)
	return err == nil
}
