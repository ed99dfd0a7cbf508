package native

import (
	"context"
	"iter"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
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
	return inode.Changes(opts, func(pool *fswalk.Pool) iter.Seq2[inode.Found, error] {
		w, root := e.newWalk(pool, opts)
		w.waste = &waste{guess: opts.Content == diff.ContentNever, deleted: deleted}
		return fswalk.Ordered(ctx, opts.Workers, root, w.expand)
	})
}

// waste says what a walk looks for.
type waste struct {
	guess   bool // by size and time
	deleted bool
}

// note leaves of what was found at a name of n what is wasted there, and a
// directory to go on with if both views have it, or only the old one.
func (c *waste) note(n *node, name, path string, from, to *object, f *found) {
	change := f.change
	f.change = diff.Change{}
	switch {
	case n.gone: // what n calls new is the old view's
		f.change = diff.Change{Kind: diff.Delete, Path: path, Entry: change.Entry}
		if f.child != nil {
			f.child.gone = true
		}
		return
	case f.child != nil && len(f.child.old) == 0:
		f.child = nil
	}
	if to == nil || from != nil && from.meta.IsDir() && !to.meta.IsDir() {
		if c.deleted && from != nil {
			f.change = diff.Change{Kind: diff.Delete, Path: path, Entry: from.meta.Entry()}
			if from.meta.IsDir() {
				f.child = &node{at: n.at.Child(name), new: merged{lowers: from.dirs.lowers}, gone: true}
			}
		}
		return
	}
	switch what := change.What; {
	case from == nil || to.layer > 0 || to.data != to.meta || to.blob != "":
	case to.meta.Entry().Type != diff.File || what&(diff.WhatType|diff.WhatSize|diff.WhatContent) != 0:
	case c.guess && what&diff.WhatMtime != 0:
	default:
		f.change = diff.Change{Kind: diff.Modify, What: what, Path: path, Entry: to.meta.Entry()}
	}
}
