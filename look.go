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
// Ids of the entries are those that [Options.Owners] says, all else is as the host has it.
//
// What use returns is returned. Errors of its own: those of [Diff.Explain].
func (d *Diff) Look(ctx context.Context, path string, use func(from, to *diff.Seen) error) error {
	ids := d.Container().Inverse()
	return d.engine.Look(ctx, path, d.walkOptions(), func(from, to *diff.Seen) error {
		for _, s := range []*diff.Seen{from, to} {
			if s == nil {
				continue
			}
			s.HostUID, s.HostGID = s.UID, s.GID
			if !ids.IsZero() {
				inContainer{ids, &diff.Explanation{}}.entry(&s.Entry)
			}
		}
		return use(from, to)
	})
}
