//go:build linux

package mountutil

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// guess keeps whether a layer was found by a file handle where its name says nothing about
// which of several layers it is. There is at most one: the order of two would be unknown.
type guess struct{ pending, taken bool }

func (g *guess) settle(byHandle bool) {
	g.taken = g.taken || byHandle && g.pending
	g.pending = false
}

// rootHandle yields where the topmost layer is by the handle of the overlay's root.
func (r *resolver) rootHandle(yield func(way) bool) {
	if h, ok := r.mount.RootHandle(); ok {
		r.decode(h, 0, yield)
	}
}

// orphans yields where a lower layer may be, by the handles of what the mount shows and
// the layers that were found do not have.
func (r *resolver) orphans(i int, yield func(way) bool) {
	const most = 16
	tried := map[way]bool{}
	for _, o := range r.mount.Orphans(most) {
		if !o.Known {
			continue
		}
		more := true
		r.decode(o.Handle, strings.Count(o.Path, "/"), func(w way) bool {
			if tried[w] || !r.isLayer(i, w) {
				return true
			}
			tried[w] = true
			more = yield(w)
			return more
		})
		if !more {
			return
		}
	}
}

// isLayer reports whether a directory that was found by its handle can be the lower layer
// i, and no other one: it is not where another word leads, and its path ends in more names
// of word i than of any other word that leads nowhere; or there is no other such word.
func (r *resolver) isLayer(i int, w way) bool {
	dir, err := w.open()
	if err != nil {
		return true // then the caller says so
	}
	defer dir.Close()
	var id sys.Identity
	if sys.IdentityAt(int(dir.Fd()), "", &id) != nil {
		return false
	}
	own, rival, lost := commonSuffix(r.parser.Lower[i], w.path), 0, false
	for j, path := range r.parser.Lower {
		if j == i {
			continue
		}
		leads, here := r.leads(path, &id)
		if here {
			return false
		}
		if !leads {
			lost = true
			rival = max(rival, commonSuffix(path, w.path))
		}
	}
	r.guess.pending = own == 0 || own <= rival
	return own > rival || !lost && !r.guess.taken
}

// leads reports whether a word leads to a directory, and whether to the one of id.
func (r *resolver) leads(path string, id *sys.Identity) (somewhere, here bool) {
	for w := range r.plain(word{path, path}) {
		dir, err := w.open()
		if err != nil {
			continue
		}
		var other sys.Identity
		err = sys.IdentityAt(int(dir.Fd()), "", &other)
		dir.Close()
		if err == nil {
			somewhere = true
			here = here || other.SameInode(id)
		}
	}
	return somewhere, here
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
		fd, err := open(unix.AT_FDCWD, point, unix.O_RDONLY|unix.O_DIRECTORY)
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

// fileSystems returns a mount point of each local file system that can have layers.
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
	var points []string
	seen := map[uint64]bool{}
	for _, m := range slices.Backward(infos) {
		var id sys.Identity
		dir, err := open(unix.AT_FDCWD, m.Mountpoint, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		if sys.IdentityAt(dir, "", &id) == nil && !seen[id.Dev] {
			seen[id.Dev] = true
			points = append(points, m.Mountpoint)
		}
		unix.Close(dir)
	}
	return points
}
