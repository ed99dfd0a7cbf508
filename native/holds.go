package native

import (
	"context"
	"iter"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Holds returns what the upper directory of s holds, in path order, the root
// excepted: together it is what [Usage] sums up. It reads nothing else.
//
// An inode with several names has its sizes at the one that is met first; which
// that is differs from call to call if several workers read.
func Holds(ctx context.Context, s diff.Stack, opts diff.Options) iter.Seq2[diff.Held, error] {
	return func(yield func(diff.Held, error) bool) {
		if s.Upper == "" {
			yield(diff.Held{}, errNoUpper)
			return
		}
		tree, err := openUpper(s, &mountutil.Mounts{Opener: s.Opener})
		if err != nil {
			yield(diff.Held{}, err)
			return
		}
		defer tree.Close()
		pool := fswalk.NewPool(0)
		defer pool.Close()
		h := holder{meter{marks: whiteout.NamespaceOf(s.Features), linked: map[diff.Inode]struct{}{}}}
		root := heldDir{dir: pool.Root(tree.FD(), s.Upper)}
		for one, err := range fswalk.Ordered(ctx, opts.Workers, root, h.expand) {
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
	dir  *fswalk.Dir
	at   *inode.Path
	path string // at as a string, while the directory is read
}

type heldValue struct {
	diff.Held
	raced bool
}

type holder struct{ meter }

func (h *holder) expand(ctx context.Context, n heldDir, out *fswalk.Items[heldDir, heldValue]) error {
	n.path = n.at.String()
	list, err := n.dir.List(ctx)
	if inode.Vanished(err) && n.path != "/" {
		out.Value(heldValue{Held: diff.Held{Path: n.path}, raced: true})
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
			path := diff.Join(n.path, d.Name)
			var st sys.Stat
			err := sys.UsageAt(fd, d.Name, &st)
			if inode.Vanished(err) {
				out.Value(heldValue{Held: diff.Held{Path: path}, raced: true})
				continue
			}
			if err != nil {
				return n.dir.Wrap("fstatat", d.Name, err)
			}
			one := heldValue{Held: diff.Held{Path: path, Inodes: 1, DiskBytes: st.Blocks * 512}}
			if st.Format() == sys.Directory {
				one.Dir = true
			} else if one.Bytes = st.Size; st.Nlink > 1 && h.counted(&st) {
				one.Bytes, one.DiskBytes, one.Inodes = 0, 0, 0
			}
			out.Value(one)
			if one.Dir {
				out.Child(heldDir{dir: n.dir.Child(d.Name, st.Dev, st.Ino), at: n.at.Child(d.Name)})
			}
		}
		return nil
	})
}
