package views

import (
	"context"
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
)

// descent looks up one path, component by component.
type descent[D any, N fmt.Stringer] struct {
	views  Views[D, N]
	dir    D            // in which the next name is looked up
	lookup Lookup[D, N] // of the last name
	Visit[D]
}

// next looks name up in the directory that was found last. First of all it is called with
// "", which stands for the root.
func (d *descent[D, N]) next(name string) error {
	d.leave()
	if name == "" {
		d.Child = d.views.Root()
	}
	d.dir = d.Child
	d.lookup = d.views.Enter(&d.dir)
	return lookup(d.lookup, d.views.Name(name), &d.Visit)
}

func (d *descent[D, N]) leave() {
	if d.lookup != nil {
		d.lookup.Leave()
		d.lookup = nil
	}
}

// along calls look with a descent that has looked up nothing, anew as long as what it
// reads changes meanwhile. path is a clean one.
func along[D any, N fmt.Stringer](
	ctx context.Context, pool *fswalk.Pool, op, path string, opts diff.Options, open Open[D, N], look func(*descent[D, N]) error,
) error {
	q := Question{Options: diff.Options{Content: opts.Content}, One: true}
	raced, err := Retry(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		views, err := open(ctx, pool, q)
		if err != nil {
			return err
		}
		d := &descent[D, N]{views: views}
		d.Ctx, d.Pair.Content = ctx, opts.Content
		defer d.leave()
		return look(d)
	})
	return settle(op, path, raced, err, opts)
}

// Look calls use with what the views show at path, nil for nothing. Path, options
// and errors are as of [Explain]; what use returns is returned as it is.
func Look[D any, N fmt.Stringer](
	ctx context.Context, path string, opts diff.Options, open Open[D, N], use func(from, to *diff.Seen) error,
) error {
	path, err := diff.CleanPath(path)
	if err != nil {
		return err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	var from, to *diff.Seen
	err = along(ctx, pool, "look at", path, opts, open, func(d *descent[D, N]) error {
		err := d.next("")
		for name := range strings.SplitSeq(path[1:], "/") {
			if err != nil || name == "" {
				break
			}
			err = d.next(name)
		}
		if err == nil {
			from, to = d.seen()
		}
		return err
	})
	if err != nil {
		return err
	}
	return use(from, to)
}

// seen returns what the views show at the last name.
func (d *descent[D, N]) seen() (from, to *diff.Seen) {
	if d.Old != nil {
		from = &diff.Seen{Entry: d.Old.Entry(), Payload: d.Payload(false)}
	}
	if d.New != nil {
		to = &diff.Seen{Entry: d.New.Entry(), Payload: d.Payload(true)}
	}
	return from, to
}
