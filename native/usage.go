package native

import (
	"context"
	"errors"
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
	m, err := openMeter(s)
	if err != nil {
		return total, err
	}
	defer m.close()
	root := measured{dir: m.root, isRoot: true}
	for part, err := range fswalk.Ordered(ctx, opts.Workers, root, m.expand) {
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

// measured is a directory to be measured, or some names of a large one.
type measured struct {
	dir    *fswalk.Dir
	isRoot bool
	names  string // joined by slashes; "": all
}

// share is about how many entries one worker measures before it gives others a
// chance: what is left of a large directory, and the directories in it.
const share = 128

// reading is what one worker adds.
type reading struct {
	usage diff.Usage
	raced []string
}

// meter measures an upper directory.
type meter struct {
	marks *whiteout.Namespace
	tree  *mountutil.Tree
	pool  *fswalk.Pool
	root  *fswalk.Dir

	mu     sync.Mutex
	linked map[diff.Inode]struct{} // inodes with several names that were counted
}

// openMeter opens the upper directory of s. The caller closes it.
func openMeter(s diff.Stack) (*meter, error) {
	if s.Upper == "" {
		return nil, errNoUpper
	}
	tree, err := openUpper(s, &mountutil.Mounts{Opener: s.Opener})
	if err != nil {
		return nil, err
	}
	m := &meter{marks: whiteout.NamespaceOf(s.Features), tree: tree, pool: fswalk.NewPool(0), linked: map[diff.Inode]struct{}{}}
	m.root = m.pool.Root(tree.FD(), s.Upper)
	return m, nil
}

func (m *meter) close() {
	m.pool.Close()
	_ = m.tree.Close()
}

func (m *meter) expand(ctx context.Context, n measured, out *fswalk.Items[measured, reading]) error {
	t := tally{meter: m, todo: []measured{n}}
	for len(t.todo) > 0 && t.seen < share {
		last := len(t.todo) - 1
		t.at, t.todo = t.todo[last], t.todo[:last]
		if err := t.measure(ctx); inode.Vanished(err) {
			t.race("")
		} else if err != nil {
			return err
		}
	}
	for _, n := range t.todo {
		out.Child(n)
	}
	out.Value(t.reading)
	return nil
}

// tally is what one worker does at a stretch.
type tally struct {
	*meter
	todo []measured
	seen int
	at   measured
	fd   int
	st   sys.Stat
	reading
}

func (t *tally) measure(ctx context.Context) error {
	return t.at.dir.Use(func(fd int) error {
		t.fd = fd
		if t.at.names == "" {
			return t.directory(ctx)
		}
		for name := range strings.SplitSeq(t.at.names, "/") {
			if err := t.entry(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// directory measures a directory and what is in it.
func (t *tally) directory(ctx context.Context) error {
	if err := sys.UsageAt(t.fd, "", &t.st); err != nil {
		return t.at.dir.Wrap("fstat", "", err)
	}
	t.usage.Inodes++
	t.usage.DiskBytes += t.st.Blocks * 512
	if !t.at.isRoot { // a mark there has no effect
		t.at.dir.Identify(t.st.Dev, t.st.Ino)
		opaque, err := t.marks.IsOpaqueDir(t.fd)
		if err != nil {
			return t.at.dir.WrapXattr(t.marks.Opaque, "", err)
		}
		if opaque {
			t.usage.OpaqueDirs++
		}
	}
	return t.list(ctx)
}

func (t *tally) list(ctx context.Context) error {
	n, rest := 0, []byte(nil)
	var failed error
	err := t.at.dir.Visit(ctx, func(d sys.Dirent) bool {
		name := d.Name
		if d.Type == sys.TypeDir { // measured once it is open, which saves looking it up twice
			t.seen++
			t.subdirectory(name)
			return true
		}
		if n++; n <= share {
			failed = t.entry(ctx, name)
			return failed == nil
		}
		rest = append(append(rest, name...), '/')
		if n%share == 0 {
			rest = t.later(rest)
		}
		return true
	})
	t.later(rest)
	return errors.Join(failed, err)
}

// later leaves names to whoever has time, and returns the space that they took.
func (t *tally) later(names []byte) []byte {
	if len(names) > 0 {
		t.todo = append(t.todo, measured{dir: t.at.dir, names: string(names[:len(names)-1])})
	}
	return names[:0]
}

// entry measures one entry. It is the hot loop: one system call, and no
// allocation but for directories.
func (t *tally) entry(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.seen++
	st := &t.st
	switch err := sys.UsageAt(t.fd, name, st); {
	case err == nil:
	case inode.Vanished(err):
		t.race(name)
		return nil
	default:
		return t.at.dir.Wrap("fstatat", name, err)
	}
	hidden, err := isWhiteout(t.marks, t.fd, name, st)
	if err != nil && !inode.Vanished(err) {
		return t.at.dir.WrapXattr(t.marks.Whiteout, name, err)
	}
	if hidden || t.marks.Fuse && whiteout.IsFuseMark(name) && whiteout.FuseName(name) != "" {
		t.usage.Whiteouts++
	}
	if st.Format() == sys.Directory {
		t.subdirectory(name)
		return nil
	}
	if st.Nlink > 1 && t.counted(st) {
		t.usage.LinkedBytes = diff.AddBytes(t.usage.LinkedBytes, st.Size)
		return nil
	}
	t.usage.Inodes++
	t.usage.DiskBytes += st.Blocks * 512
	t.usage.Bytes = diff.AddBytes(t.usage.Bytes, st.Size)
	return nil
}

func (t *tally) subdirectory(name string) {
	t.todo = append(t.todo, measured{dir: t.at.dir.Child(strings.Clone(name), 0, 0)})
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

func (t *tally) race(name string) {
	t.usage.Raced++
	t.raced = append(t.raced, t.at.dir.DisplayPath(strings.Clone(name)))
}

func add(total *diff.Usage, u diff.Usage) {
	total.Bytes = diff.AddBytes(total.Bytes, u.Bytes)
	total.LinkedBytes = diff.AddBytes(total.LinkedBytes, u.LinkedBytes)
	total.DiskBytes += u.DiskBytes
	total.Inodes += u.Inodes
	total.Whiteouts += u.Whiteouts
	total.OpaqueDirs += u.OpaqueDirs
	total.Raced += u.Raced
}
