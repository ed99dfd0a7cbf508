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
		if link.Mode().Type() != fs.ModeSymlink {
			continue
		}
		target, err := os.Stat(path[:at])
		if err != nil {
			return pathError(err, path)
		}
		if !follow(link, target) {
			return fmt.Errorf("open %s: user %d made the link %s to what is another's: it is not followed; let root make it, if it is right",
				diff.QuotePath(path), owner(link), diff.QuotePath(filepath.Base(path[:at])))
		}
	}
	return nil
}

// follow: root's links are followed, also those of the root outside of this
// user namespace.
func follow(link, target fs.FileInfo) bool {
	const overflow = 65534
	made := owner(link)
	return made == 0 || made == owner(target) || made == overflow && inUserNamespace()
}

// below returns where a path is whose root directory is mounted at root: links
// lead on from there, not from this process's root directory. What is not there,
// or not to be followed, stays as it is.
func below(root, path string) string {
	const most = 40 // as the kernel
	links := 0
	var resolve func(path string) string
	resolve = func(path string) string {
		at := "/"
		for name := range strings.SplitSeq(path, "/") {
			next := filepath.Join(at, name)
			link, err := os.Lstat(filepath.Join(root, next))
			target, notLink := os.Readlink(filepath.Join(root, next))
			if err != nil || notLink != nil || links == most {
				at = next
				continue
			}
			links++
			if !filepath.IsAbs(target) {
				target = at + "/" + target
			}
			target = resolve(target)
			if info, err := os.Lstat(filepath.Join(root, target)); err == nil && !follow(link, info) {
				target = next
			}
			at = target
		}
		return at
	}
	return filepath.Join(root, resolve(path))
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
