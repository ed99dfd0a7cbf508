package overlaydiff

import (
	"context"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Look calls use with what the old and the new view show at a path, nil where they
// show nothing, to read it: files, targets of links, extended attributes. For the
// path see [diff.CleanPath]. Nothing is followed: a symbolic link is looked at
// itself, and below one there is nothing.
//
// What use returns is returned. Errors of its own: those of [Diff.Explain].
func (d *Diff) Look(ctx context.Context, path string, use func(from, to *diff.Seen) error) error {
	return d.engine.Look(ctx, path, d.walkOptions(), use)
}
