package views

import (
	"context"
	"fmt"
	"iter"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Changes implements [diff.Engine] with the views that open opens.
func Changes[D any, N fmt.Stringer](ctx context.Context, opts diff.Options, open Open[D, N]) iter.Seq2[diff.Change, error] {
	return Walk(ctx, Question{Options: opts}, open, func(v *Visit[D]) (diff.Change, bool) {
		return v.Change, v.Change.Kind != 0
	})
}

// Carry implements [diff.Carrier] with the views that open opens.
func Carry[D any, N fmt.Stringer](
	ctx context.Context, opts diff.Options, want diff.Want, open Open[D, N], use func(iter.Seq2[diff.Item, error]) error,
) error {
	pool := fswalk.NewPool(0)
	defer pool.Close()
	return use(run(ctx, pool, Question{Options: opts, Want: &want}, open, func(v *Visit[D]) (diff.Item, bool) {
		return carry(v, &want)
	}))
}

// carry is the visitor of [Carry]: it returns what it takes to carry an entry elsewhere,
// if it is to be.
func carry[D any](v *Visit[D], want *diff.Want) (item diff.Item, ok bool) {
	if v.Listed {
		if v.Below {
			item.Path, item.Payload = v.Path(), v.Payload(true)
		}
		return item, v.Below
	}
	stays := v.Change.Kind == 0 && v.Old != nil && v.New != nil && !v.New.IsDir()
	if !v.wanted(want, stays) {
		return item, false
	}
	item.Change = v.Change
	if stays {
		item.Was, item.WasLinks = v.Was, v.Old.Stat.Nlink
	}
	if v.New == nil {
		return item, true
	}
	item.Path, item.Entry, item.Payload = v.Path(), v.New.Entry(), v.Payload(true) // also if nothing changed
	item.Lower, item.Uncounted = v.Lower, v.Uncounted
	if v.Old == nil || !v.Old.IsDir() || !v.New.IsDir() {
		return item, true
	}
	if v.Change.What&diff.WhatXattrs != 0 {
		item.Old = v.Payload(false)
	}
	if v.Below && v.Opaque {
		item.Opaque = true
		v.Hides = v.Hides || want.Opaque
	}
	return item, true
}

// wanted reports whether the visited entry is to be carried. stays: it is no directory
// and did not change.
func (v *Visit[D]) wanted(want *diff.Want, stays bool) bool {
	if v.Below {
		return true
	}
	if want.Links != nil {
		if !stays {
			return false
		}
		_, ok := want.Links[inodeOf(v.New)]
		return ok
	}
	parted := want.Parted && stays && max(v.Old.Stat.Nlink, v.New.Stat.Nlink) > 1 && v.Was != inodeOf(v.New)
	return v.Change.Kind != 0 || v.New != nil && v.Hides || parted
}

func inodeOf(r *inode.Ref) diff.Inode { return diff.Inode{Dev: r.Stat.Dev, Ino: r.Stat.Ino} }
