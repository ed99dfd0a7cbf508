package naive

import (
	"context"
	"errors"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Explain tells what both trees have at path, and in what that differs. Of layers
// it knows nothing. No proof is relied on: if contents matter, they are read.
//
// See [diff.CleanPath] for the path; one that is in neither tree is no error. Of
// the options it heeds Content and OnRace. What changes faster than it can be
// read is a [diff.RaceError].
func (e *Engine) Explain(ctx context.Context, path string, opts diff.Options) (x diff.Explanation, err error) {
	if path, err = diff.CleanPath(path); err != nil {
		return x, err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	var a inode.Attempt
	for again := true; again; again = a.Again(err) {
		if err = ctx.Err(); err == nil {
			v := &explaining{ctx: ctx, walk: &walk{Engine: e, opts: diff.Options{Content: opts.Content}}, pool: pool}
			x, err = inode.Explain(path, v)
		}
	}
	return x, inode.Settle("explain", path, a.Raced, err, opts)
}

// explaining is the [inode.Views] of the two trees.
type explaining struct {
	ctx      context.Context //nolint:containedctx // lives for one path
	walk     *walk
	pool     *fswalk.Pool
	old, new found
}

// found is what was found last in a tree, and the directory that it is; nil: none.
type found struct {
	ref *inode.Ref
	dir *fswalk.Dir
}

// Next implements [inode.Views].
func (v *explaining) Next(name string) (*inode.Ref, *inode.Ref, error) {
	if name == "" {
		v.old.dir, v.new.dir = v.pool.Root(v.walk.old.FD, v.walk.old.Name), v.pool.Root(v.walk.new.FD, v.walk.new.Name)
	}
	for _, f := range []*found{&v.old, &v.new} {
		if err := f.next(name); err != nil {
			return nil, nil, v.walk.refusal(err)
		}
	}
	return v.old.ref, v.new.ref, nil
}

// next looks name up in the directory found last; "" is that directory.
func (f *found) next(name string) error {
	if f.ref = nil; f.dir == nil {
		return nil
	}
	ref := &inode.Ref{Dir: f.dir, Name: name}
	err := f.dir.Stat(name, sys.StatAll, &ref.Stat)
	if name == "" {
		f.ref = ref
		return err
	}
	f.dir = nil
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil
	}
	if f.ref = ref; err == nil && ref.IsDir() {
		f.dir = ref.Child()
	}
	return err
}

// Compare implements [inode.Views].
func (v *explaining) Compare() (inode.Pair, diff.What, error) {
	pair := v.walk.pair(v.ctx, v.old.ref, v.new.ref)
	if v.old.ref.Equal(v.new.ref) {
		return pair, 0, nil
	}
	what, err := pair.Compare()
	return pair, what, err
}
