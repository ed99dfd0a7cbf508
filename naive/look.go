package naive

import (
	"context"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Look calls use with what the trees have at path, nil for nothing. Path, options
// and errors are as of [Engine.Explain]; what use returns is returned as it is.
func (e *Engine) Look(ctx context.Context, path string, opts diff.Options, use func(from, to *diff.Seen) error) error {
	path, err := diff.CleanPath(path)
	if err != nil {
		return err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	v := &explaining{ctx: ctx, walk: &walk{Engine: e, opts: diff.Options{Content: opts.Content}}, pool: pool}
	var a inode.Attempt
	for again := true; again; again = a.Again(err) {
		if err = ctx.Err(); err == nil {
			err = inode.Descend(path, v)
		}
	}
	if err := inode.Settle("look at", path, a.Raced, err, opts); err != nil {
		return err
	}
	return use(v.old.seen(), v.new.seen())
}

func (f *found) seen() *diff.Seen {
	if f.ref == nil {
		return nil
	}
	return &diff.Seen{Entry: f.ref.Entry(), Payload: &inode.Payload{Ref: *f.ref}}
}
