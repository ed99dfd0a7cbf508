package native

import (
	"context"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Look calls use with what the views show at path, nil for nothing. Path, options
// and errors are as of [Engine.Explain]; what use returns is returned as it is.
func (e *Engine) Look(ctx context.Context, path string, opts diff.Options, use func(from, to *diff.Seen) error) error {
	path, err := diff.CleanPath(path)
	if err != nil {
		return err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	var a inode.Attempt
	var from, to *diff.Seen
	for again := true; again; again = a.Again(err) {
		if err = ctx.Err(); err == nil {
			from, to, err = e.look(ctx, pool, path, opts)
		}
	}
	if err := inode.Settle("look at", path, a.Raced, err, opts); err != nil {
		return err
	}
	return use(from, to)
}

func (e *Engine) look(ctx context.Context, pool *fswalk.Pool, path string, opts diff.Options) (from, to *diff.Seen, err error) {
	w, root := e.newWalk(pool, opts)
	v := &explaining{ctx: ctx, walk: w, trace: &trace{}, node: root}
	if err := inode.Descend(path, v); err != nil {
		return nil, nil, err
	}
	last := v.found[len(v.found)-1]
	return v.seen(last.old, false), v.seen(last.new, true), nil
}

func (v *explaining) seen(o *object, inNew bool) *diff.Seen {
	if o == nil {
		return nil
	}
	at := place{parent: v.parent.new}
	if !inNew {
		at = place{parent: merged{lowers: v.parent.old}, inOld: true}
	}
	if len(v.names) > 0 {
		at.name = v.names[len(v.names)-1]
	}
	return &diff.Seen{Entry: o.meta.Entry(), Payload: v.walk.payload(at, o)}
}
