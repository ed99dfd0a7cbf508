package native

import (
	"context"
	"errors"
	"iter"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Engine compares the two views of one stack. It is a [diff.Engine] and safe
// for concurrent use.
type Engine struct {
	layers   []layer // the upper, then the lower layers, topmost first
	data     []layer // the data-only layers
	index    *index  // nil: no index, or nothing in it
	marks    *whiteout.Namespace
	features diff.Features
	traps    map[diff.Inode]struct{}
}

// Open opens the layers of a stack. Directories that are mounted inside a layer
// are not part of it, as for the kernel.
//
// Errors: those of opening a layer, or one that matches [diff.ErrUnsupported].
func Open(ctx context.Context, s diff.Stack) (*Engine, error) {
	if err := supported(s); err != nil {
		return nil, err
	}
	e := &Engine{marks: whiteout.NamespaceOf(s.Features), features: s.Features}
	if err := e.open(ctx, s); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, s diff.Stack) error {
	mounts := mountutil.Mounts{Opener: s.Opener}
	add := func(list *[]layer, kind string, paths ...string) error {
		for _, path := range paths {
			l, err := openLayer(ctx, &mounts, kind, path)
			if err != nil {
				return err
			}
			l.uuidOff = s.Features.UUIDOff
			*list = append(*list, l)
		}
		return nil
	}
	tree, err := openUpper(s, &mounts)
	if err == nil {
		e.layers = append(e.layers, layer{tree: tree, path: s.Upper, uuidOff: s.Features.UUIDOff})
		err = e.layers[0].look()
	}
	if err == nil {
		err = add(&e.layers, "lower", s.Lower...)
	}
	if err == nil {
		err = add(&e.data, "data-only lower", s.Data...)
	}
	if err == nil && s.Features.Index {
		e.index, err = openIndex(ctx, s, e.layers)
	}
	for i := 0; err == nil && i < len(e.layers); i++ {
		e.layers[i].lens, err = lensOf(s, e.layers[i])
	}
	if err == nil {
		e.setTraps(s)
	}
	return err
}

// Name returns "native".
func (*Engine) Name() string { return "native" }

// Close closes the layers.
func (e *Engine) Close() error {
	var err error
	for _, l := range append(e.layers, e.data...) {
		err = errors.Join(err, l.tree.Close())
	}
	if e.index != nil {
		sys.Close(e.index.fd)
	}
	*e = Engine{}
	return err
}

// Changes implements [diff.Engine].
func (e *Engine) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	return views.Changes(ctx, opts, e.views)
}

// Carry implements [diff.Carrier].
func (e *Engine) Carry(ctx context.Context, opts diff.Options, want diff.Want, use func(iter.Seq2[diff.Item, error]) error) error {
	return views.Carry(ctx, opts, want, e.views, use)
}

// Explain returns why path is or is not among the changes, layer by layer. It
// looks the path up as [Engine.Changes] does and records what it meets. See
// [diff.CleanPath] for the path; one that is in neither view is no error.
//
// Of the options it heeds Content and OnRace. Errors: those of Changes at this
// path, [MarkError] among them, and a [diff.RaceError] if what is there changes
// faster than it can be read.
func (e *Engine) Explain(ctx context.Context, path string, opts diff.Options) (diff.Explanation, error) {
	return views.Explain(ctx, path, opts, e.views)
}

// Look calls use with what the views show at path, nil for nothing. Path, options
// and errors are as of [Engine.Explain]; what use returns is returned as it is.
func (e *Engine) Look(ctx context.Context, path string, opts diff.Options, use func(from, to *diff.Seen) error) error {
	return views.Look(ctx, path, opts, e.views, use)
}

var _ diff.Carrier = (*Engine)(nil)
