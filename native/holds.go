package native

import (
	"context"
	"iter"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// Holds returns what the upper directory of s holds, in path order, the root
// excepted: together it is what [Usage] sums up. It reads nothing else.
//
// An inode with several names has its sizes at the one that is met first; which
// that is differs from call to call if several workers read.
func Holds(ctx context.Context, s diff.Stack, opts diff.Options) iter.Seq2[diff.Held, error] {
	return func(yield func(diff.Held, error) bool) {
		m, err := openMeter(s)
		if err != nil {
			yield(diff.Held{}, err)
			return
		}
		defer m.close()
		root := heldDir{dir: m.root}
		for one, err := range fswalk.Ordered(ctx, opts.Workers, root, m.expandHeld) {
			if err == nil && one.raced {
				if opts.OnRace == nil {
					continue
				}
				if err = opts.OnRace(one.Path); err == nil {
					continue
				}
			}
			if !yield(one.Held, err) || err != nil {
				return
			}
		}
	}
}

type heldDir struct {
	dir *fswalk.Dir
	at  *views.Path
}

type heldValue struct {
	diff.Held
	raced bool
}

func (m *meter) expandHeld(ctx context.Context, n heldDir, out *fswalk.Items[heldDir, heldValue]) error {
	above := n.at.String()
	race := func(path string) { out.Value(heldValue{Held: diff.Held{Path: path}, raced: true}) }
	list, err := n.dir.List(ctx)
	if inode.Vanished(err) && above != "/" {
		race(above)
		return nil
	}
	if err != nil {
		return err
	}
	return n.dir.Use(func(fd int) error {
		for _, d := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			path := diff.Join(above, d.Name)
			var st sys.Stat
			if err := sys.UsageAt(fd, d.Name, &st); inode.Vanished(err) {
				race(path)
				continue
			} else if err != nil {
				return n.dir.Wrap("fstatat", d.Name, err)
			}
			out.Value(heldValue{Held: m.held(path, &st)})
			if st.Format() == sys.Directory {
				out.Child(heldDir{dir: n.dir.Child(d.Name, st.Dev, st.Ino), at: n.at.Child(d.Name)})
			}
		}
		return nil
	})
}

// held returns what an entry holds, nothing if its inode was counted under another name.
func (m *meter) held(path string, st *sys.Stat) diff.Held {
	h := diff.Held{Path: path, Dir: st.Format() == sys.Directory}
	switch {
	case h.Dir:
		h.Inodes, h.DiskBytes = 1, st.Blocks*512
	case st.Nlink < 2 || !m.counted(st):
		h.Inodes, h.DiskBytes, h.Bytes = 1, st.Blocks*512, st.Size
	}
	return h
}
