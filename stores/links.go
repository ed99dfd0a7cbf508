//go:build linux

package stores

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
)

// checkLinks returns an error if one of the symbolic links on a path was made by
// an ordinary user and leads to what is not that user's: such a store would have
// root look elsewhere. A link to another disk of one's own is harmless.
func checkLinks(path string) error {
	for at := 1; at < len(path); at++ {
		if next := strings.IndexByte(path[at:], '/'); next >= 0 {
			at += next
		} else {
			at = len(path)
		}
		link, err := os.Lstat(path[:at])
		if err != nil {
			return pathError(err, path)
		}
		if link.Mode().Type() != fs.ModeSymlink || owner(link) == 0 {
			continue
		}
		target, err := os.Stat(path[:at])
		if err != nil {
			return pathError(err, path)
		}
		if owner(target) != owner(link) {
			return fmt.Errorf("open %s: user %d made the link %s to what is another's: it is not followed; let root make it, if it is right",
				diff.QuotePath(path), owner(link), diff.QuotePath(filepath.Base(path[:at])))
		}
	}
	return nil
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
