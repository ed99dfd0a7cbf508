package overlaydiff

import (
	"context"

	"github.com/overlaydiff/overlaydiff/diff"
)

// engine is what both engines are.
type engine interface {
	diff.Carrier
	Explain(ctx context.Context, path string, opts diff.Options) (diff.Explanation, error)
	Look(ctx context.Context, path string, opts diff.Options, use func(from, to *diff.Seen) error) error
}

// Explain tells why a path is or is not among the changes. The path is absolute
// within the view; see [diff.CleanPath]. Only the native engine knows of layers:
// the naive one compares what both views show, and [Diff.Reason] says why it is
// the one that answers.
//
// A path that is in neither view is no error: Old and New are nil then.
func (d *Diff) Explain(ctx context.Context, path string) (diff.Explanation, error) {
	return d.engine.Explain(ctx, path, d.walkOptions())
}
