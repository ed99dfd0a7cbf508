//go:build linux

package mountutil

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// rootHandle yields where the topmost layer is by the handle of the overlay's root.
func (r *resolver) rootHandle(yield func(way) bool) {
	if h, ok := r.mount.RootHandle(); ok {
		r.decode(h, 0, yield)
	}
}

// orphans yields where a lower layer may be, by the handles of what the mount shows and
// the layers that were found do not have. Of several such directories, those come first
// whose path ends in most names of the word.
func (r *resolver) orphans(i int, yield func(way) bool) {
	const most = 16
	if len(r.doubtful) > mostDoubtful {
		return // the order of those that were found so could not be told
	}
	var ways []way
	for _, o := range r.mount.Orphans(most) {
		if !o.Known {
			continue
		}
		r.decode(o.Handle, strings.Count(o.Path, "/"), func(w way) bool {
			if !slices.Contains(ways, w) {
				ways = append(ways, w)
			}
			return true
		})
	}
	slices.SortStableFunc(ways, func(a, b way) int {
		return commonSuffix(r.parser.Lower[i], b.path) - commonSuffix(r.parser.Lower[i], a.path)
	})
	for _, w := range ways {
		if !yield(w) {
			return
		}
	}
}

// commonSuffix returns in how many names two paths end alike.
func commonSuffix(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < min(len(as), len(bs)) && as[len(as)-1-n] == bs[len(bs)-1-n] && as[len(as)-1-n] != "" {
		n++
	}
	return n
}

// decode yields the directory that is depth names above the inode of a handle, on each
// mounted file system that has such an inode.
func (r *resolver) decode(h sys.Handle, depth int, yield func(way) bool) {
	for _, point := range r.fileSystems() {
		fd, err := sys.Open(unix.AT_FDCWD, point, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		at, err := sys.OpenHandle(fd, h)
		unix.Close(fd)
		if err != nil {
			continue
		}
		path, err := sys.PathOf(at)
		unix.Close(at)
		if err != nil || !filepath.IsAbs(path) {
			continue
		}
		for range depth {
			path = filepath.Dir(path)
		}
		if !yield(way{path: path}) || !below(0, path, yield) {
			return
		}
	}
}

// fileSystems returns mount points of the local file systems that can have layers.
func (r *resolver) fileSystems() []string {
	local := []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "f2fs", "squashfs", "erofs", "bcachefs"}
	infos, err := readTable(ownTable(), func(line []byte) bool {
		_, rest, _ := bytes.Cut(line, []byte(" - "))
		kind, _, _ := strings.Cut(string(rest), " ")
		return slices.Contains(local, kind)
	})
	if err != nil {
		return nil
	}
	// What is not below the root of a mount has no path there: whole file systems first.
	slices.SortStableFunc(infos, func(a, b *mountinfo.Info) int { return len(a.Root) - len(b.Root) })
	const most = 64
	var points []string
	seen := map[string]bool{}
	for _, m := range infos {
		id := fmt.Sprintf("%d:%d %s", m.Major, m.Minor, m.Root)
		if !seen[id] && len(points) < most {
			seen[id] = true
			points = append(points, m.Mountpoint)
		}
	}
	return points
}
