package scratch

import (
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// empty removes all that is in a directory of our own. It holds one descriptor however
// deep that is, and goes back up by "..".
func empty(path string) error {
	fd, err := sys.OpenDir(path)
	if err != nil {
		return err
	}
	defer func() { sys.Close(fd) }()
	for way := []string{}; ; {
		dir, err := unlink(fd)
		if err != nil {
			return err
		}
		var next int
		if dir != "" {
			next, err = sys.OpenDirAt(fd, dir)
			way = append(way, dir)
		} else if len(way) > 0 {
			next, err = sys.OpenParent(fd)
		} else {
			return nil
		}
		if err != nil {
			return err
		}
		sys.Close(fd)
		if fd = next; dir == "" {
			if err := sys.RmdirAt(fd, way[len(way)-1]); err != nil {
				return err
			}
			way = way[:len(way)-1]
		}
	}
}

// unlink removes what is in fd up to the first directory, and returns that.
func unlink(fd int) (dir string, err error) {
	listErr := sys.ReadDir(fd, func(e sys.Dirent) bool {
		kind := e.Type
		if kind == sys.TypeUnknown {
			var st sys.Stat
			if err = sys.StatAt(fd, e.Name, sys.StatAll, &st); err != nil {
				return false
			}
			if st.Format() == sys.Directory {
				kind = sys.TypeDir
			}
		}
		if kind == sys.TypeDir {
			dir = strings.Clone(e.Name)
			return false
		}
		err = sys.UnlinkAt(fd, e.Name)
		return err == nil
	})
	if err == nil {
		err = listErr
	}
	return dir, err
}
