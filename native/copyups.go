package native

import (
	"context"
	"iter"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// CopyUps tells which files of the upper directory have the content of the file
// below. It reads no more directories than are in both, and contents as
// opts.Content says: with [diff.ContentNever], size and modification time tell
// whether they are equal, which a copy-up keeps and a write does not.
func (e *Engine) CopyUps(ctx context.Context, opts diff.Options) (diff.CopyUps, error) {
	c := &copyUps{guess: opts.Content == diff.ContentNever, linked: map[diff.Inode]struct{}{}}
	walk := func(pool *fswalk.Pool) iter.Seq2[inode.Found, error] {
		opts.Kinds = false // what differs is the answer
		w, root := e.newWalk(pool, opts)
		w.copyUps = c
		return fswalk.Ordered(ctx, opts.Workers, root, w.expand)
	}
	for _, err := range inode.Changes(opts, walk) {
		if err != nil {
			return diff.CopyUps{}, err
		}
	}
	return c.sum, nil
}

// copyUps sums up what a walk finds.
type copyUps struct {
	guess bool

	mu     sync.Mutex
	sum    diff.CopyUps
	linked map[diff.Inode]struct{} // inodes with several names that were counted
}

// note counts one name that was compared, and leaves of it no more than a
// directory to go on with, if both views have it.
func (c *copyUps) note(from, to *object, f *found) {
	what := f.change.What
	f.change = diff.Change{}
	if f.child != nil && len(f.child.old) == 0 {
		f.child = nil
	}
	switch {
	case from == nil || to == nil || to.layer > 0 || to.data != to.meta || to.blob != "":
		return
	case to.meta.Entry().Type != diff.File || what&(diff.WhatType|diff.WhatSize|diff.WhatContent) != 0:
		return
	case c.guess && what&diff.WhatMtime != 0:
		return
	}
	size := to.meta.Stat.Size
	c.mu.Lock()
	defer c.mu.Unlock()
	if to.meta.Stat.Nlink > 1 {
		i := diff.Inode{Dev: to.meta.Stat.Dev, Ino: to.meta.Stat.Ino}
		if _, counted := c.linked[i]; counted {
			return
		}
		c.linked[i] = struct{}{}
	}
	if what == 0 {
		c.sum.Unchanged++
		c.sum.UnchangedBytes = diff.AddBytes(c.sum.UnchangedBytes, size)
		return
	}
	c.sum.MetadataOnly++
	c.sum.MetadataOnlyBytes = diff.AddBytes(c.sum.MetadataOnlyBytes, size)
}
