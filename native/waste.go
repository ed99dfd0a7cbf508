package native

import (
	"context"
	"iter"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// CopyUps sums up which files of the upper directory have the content of the file
// below; see [Engine.Waste].
func (e *Engine) CopyUps(ctx context.Context, opts diff.Options) (c diff.CopyUps, err error) {
	linked := linked{}
	for f, err := range e.wasted(ctx, opts, false) {
		if err != nil {
			return diff.CopyUps{}, err
		}
		switch {
		case linked.again(&f.Entry):
		case f.What == 0:
			c.Unchanged++
			c.UnchangedBytes = diff.AddBytes(c.UnchangedBytes, f.Entry.Size)
		default:
			c.MetadataOnly++
			c.MetadataOnlyBytes = diff.AddBytes(c.MetadataOnlyBytes, f.Entry.Size)
		}
	}
	return c, nil
}

// Waste returns what the layers hold although the new view does not need it, in
// path order; an error is the last element. It reads no more directories than are
// in both views, and those that were deleted. Contents are read as opts.Content
// says: with [diff.ContentNever], size and modification time tell whether they are
// equal, which a copy-up keeps and a write does not.
//
// A deleted inode that has another name which stays is counted as if it had none.
func (e *Engine) Waste(ctx context.Context, opts diff.Options) iter.Seq2[diff.Waste, error] {
	return func(yield func(diff.Waste, error) bool) {
		var gone diff.Waste // adds up what is below its path
		linked := linked{}
		for f, err := range e.wasted(ctx, opts, true) {
			if err != nil {
				yield(diff.Waste{}, err)
				return
			}
			size := f.Entry.Size
			if linked.again(&f.Entry) {
				size = 0
			}
			if gone.Kind != 0 {
				if strings.HasPrefix(f.Path, gone.Path) && f.Path[len(gone.Path)] == '/' {
					gone.Bytes = diff.AddBytes(gone.Bytes, size)
					continue
				}
				if !yield(gone, nil) {
					return
				}
				gone = diff.Waste{}
			}
			w := diff.Waste{Kind: diff.MetadataOnly, Path: f.Path, What: f.What, Bytes: size}
			switch {
			case f.Kind == diff.Delete:
				w.Kind = diff.Deleted
				gone = w
				continue
			case f.What == 0:
				w.Kind = diff.Unchanged
			}
			if !yield(w, nil) {
				return
			}
		}
		if gone.Kind != 0 {
			yield(gone, nil)
		}
	}
}

// linked are the inodes with several names that were met.
type linked map[diff.Inode]struct{}

// again reports whether the entry is a further name of an inode.
func (l linked) again(e *diff.Entry) bool {
	if e.Nlinks < 2 || e.Type == diff.Dir {
		return false
	}
	_, met := l[e.Inode]
	l[e.Inode] = struct{}{}
	return met
}

// wasted finds what is wasted: as deleted, each entry of the old view that the new
// one lacks, if these are asked for; as modified, the copy-ups.
func (e *Engine) wasted(ctx context.Context, opts diff.Options, deleted bool) iter.Seq2[diff.Change, error] {
	opts.Kinds = false // what differs is the answer
	return views.Walk(ctx, views.Question{Options: opts}, e.views, func(v *views.Visit[dir]) (diff.Change, bool) {
		if v.New == nil || v.Old != nil && v.Old.IsDir() && !v.New.IsDir() {
			return lost(v, deleted)
		}
		v.Below = v.Below && v.Old != nil && v.Old.IsDir()
		return copiedUp(v, opts.Content == diff.ContentNever)
	})
}

// lost returns an entry that the new view lacks, and goes on below it.
func lost(v *views.Visit[dir], wanted bool) (c diff.Change, ok bool) {
	if !wanted || v.Old == nil {
		return c, false
	}
	v.Below = v.Old.IsDir()
	return diff.Change{Kind: diff.Delete, Path: v.Path(), Entry: v.Old.Entry()}, true
}

// copiedUp returns a file of the upper layer that has the content of the file below.
// guess: size and time tell.
func copiedUp(v *views.Visit[dir], guess bool) (c diff.Change, ok bool) {
	what := v.Change.What
	switch {
	case v.Old == nil || !v.Own || v.New.Entry().Type != diff.File:
	case what&(diff.WhatType|diff.WhatSize|diff.WhatContent) != 0:
	case guess && what&diff.WhatMtime != 0:
	default:
		return diff.Change{Kind: diff.Modify, What: what, Path: v.Path(), Entry: v.New.Entry()}, true
	}
	return c, false
}
