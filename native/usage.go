package native

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Usage returns what the upper directory of s holds. Of the stack it needs
// Upper and Features only, and it reads nothing but the upper directory.
// Entries that vanish while they are read are counted in Raced; if opts.OnRace
// is set it decides about each.
func Usage(ctx context.Context, s diff.Stack, opts diff.Options) (diff.Usage, error) {
	var total diff.Usage
	switch {
	case s.Upper == "":
		return total, errNoUpper
	case !s.Features.UserXattr && !sys.SeesTrusted():
		return total, refuseTrusted()
	}
	fd, _, err := mountutil.CloneTree(s.Upper)
	if err != nil {
		return total, fmt.Errorf("open upper directory: %w", err)
	}
	defer sys.Close(fd)
	pool := fswalk.NewPool(0)
	defer pool.Close()
	m := meter{marks: whiteout.NamespaceOf(s.Features), linked: map[diff.Inode]struct{}{}}
	root := pool.Root(fd, s.Upper)
	var st sys.Stat
	if err := root.Stat("", sys.StatUsage, &st); err != nil {
		return total, err
	}
	total.Inodes, total.DiskBytes = 1, st.Blocks*512
	for part, err := range fswalk.Ordered(ctx, opts.Workers, measured{dir: root, isRoot: true}, m.expand) {
		if err != nil {
			return total, err
		}
		add(&total, part.usage)
		for _, path := range part.raced {
			if opts.OnRace != nil {
				if err := opts.OnRace(path); err != nil {
					return total, err
				}
			}
		}
	}
	return total, nil
}

// measured is a directory to be measured.
type measured struct {
	dir    *fswalk.Dir
	isRoot bool
}

// reading is what one directory adds.
type reading struct {
	usage diff.Usage
	raced []string
}

type meter struct {
	marks *whiteout.Namespace

	mu     sync.Mutex
	linked map[diff.Inode]struct{} // inodes with several names that were counted
}

func (m *meter) expand(ctx context.Context, n measured, out *fswalk.Items[measured, reading]) error {
	var r reading
	err := n.dir.Use(func(fd int) error {
		if !n.isRoot { // a mark on the root has no effect
			value, _, err := sys.GetXattr(fd, "", m.marks.Opaque)
			if err != nil {
				return n.dir.Wrap("getxattr "+m.marks.Opaque, "", err)
			}
			if whiteout.IsOpaque(value) {
				r.usage.OpaqueDirs++
			}
		}
		return m.list(ctx, n, fd, &r, out)
	})
	if inode.Vanished(err) {
		r.race(n.dir.DisplayPath(""))
		err = nil
	}
	out.Value(r)
	return err
}

// list measures the entries of one directory. It is the hot loop: one statx an
// entry, and no allocation but for directories.
func (m *meter) list(ctx context.Context, n measured, fd int, r *reading, out *fswalk.Items[measured, reading]) error {
	var st sys.Stat
	var failed error
	err := n.dir.Visit(func(name string, _ uint8) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		switch err := sys.StatAt(fd, name, sys.StatUsage, &st); {
		case inode.Vanished(err):
			r.race(n.dir.DisplayPath(strings.Clone(name)))
			return true
		case err != nil:
			failed = n.dir.Wrap("statx", strings.Clone(name), err)
			return false
		}
		hidden, err := m.marks.Is(fd, name, &st)
		if err != nil && !inode.Vanished(err) {
			failed = n.dir.Wrap("getxattr "+m.marks.Whiteout, strings.Clone(name), err)
			return false
		}
		if hidden {
			r.usage.Whiteouts++
		}
		isDir := st.Format() == sys.Directory
		if !isDir && st.Nlink > 1 && m.counted(&st) {
			return true
		}
		r.usage.Inodes++
		r.usage.DiskBytes += st.Blocks * 512
		if isDir {
			out.Child(measured{dir: n.dir.Child(strings.Clone(name), st.Dev, st.Ino)})
		} else {
			r.usage.Bytes += st.Size
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// counted reports whether the inode was counted under another name.
func (m *meter) counted(st *sys.Stat) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := diff.Inode{Dev: st.Dev, Ino: st.Ino}
	_, ok := m.linked[i]
	m.linked[i] = struct{}{}
	return ok
}

func (r *reading) race(path string) {
	r.usage.Raced++
	r.raced = append(r.raced, path)
}

func add(total *diff.Usage, u diff.Usage) {
	total.Bytes += u.Bytes
	total.DiskBytes += u.DiskBytes
	total.Inodes += u.Inodes
	total.Whiteouts += u.Whiteouts
	total.OpaqueDirs += u.OpaqueDirs
	total.Raced += u.Raced
}
