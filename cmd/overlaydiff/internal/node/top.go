//go:build linux

package node

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
)

// Top returns the n biggest files of an upper directory, and the n biggest
// directories by all that is in them, the root included; largest first.
func Top(ctx context.Context, s diff.Stack, n int) (files, dirs []diff.Held, err error) {
	t := top{n: n, open: []diff.Held{{Path: "/", Dir: true, Inodes: 1}}}
	for one, err := range native.Holds(ctx, s, diff.Options{}) {
		if err != nil {
			return nil, nil, err
		}
		t.add(one)
	}
	for len(t.open) > 0 {
		t.leave()
	}
	return t.files.sorted(), t.dirs.sorted(), nil
}

// top sees entries in path order, so that a directory is complete when one
// comes that is not below it.
type top struct {
	n           int
	open        []diff.Held // from the root to the directory that is being read
	files, dirs smallest
}

func (t *top) add(one diff.Held) {
	for len(t.open) > 1 && !strings.HasPrefix(one.Path, t.open[len(t.open)-1].Path+"/") {
		t.leave()
	}
	if one.Dir {
		t.open = append(t.open, one)
		return
	}
	in := &t.open[len(t.open)-1]
	in.Bytes = diff.AddBytes(in.Bytes, one.Bytes)
	in.DiskBytes += one.DiskBytes
	in.Inodes += one.Inodes
	t.files.keep(one, t.n)
}

// leave closes the directory that is open last, which adds to its parent.
func (t *top) leave() {
	last := len(t.open) - 1
	done := t.open[last]
	t.open = t.open[:last]
	if last > 0 {
		in := &t.open[last-1]
		in.Bytes = diff.AddBytes(in.Bytes, done.Bytes)
		in.DiskBytes += done.DiskBytes
		in.Inodes += done.Inodes
	}
	t.dirs.keep(done, t.n)
}

// smallest is a heap with the smallest of the largest on top.
type smallest []diff.Held

func (h smallest) Len() int           { return len(h) }
func (h smallest) Less(i, j int) bool { return bySize(h[i], h[j]) < 0 }
func (h smallest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *smallest) Push(x any)        { *h = append(*h, x.(diff.Held)) }
func (h *smallest) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

func bySize(a, b diff.Held) int {
	return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(b.Path, a.Path))
}

func (h *smallest) keep(one diff.Held, n int) {
	switch {
	case n <= 0:
	case len(*h) < n:
		heap.Push(h, one)
	case bySize((*h)[0], one) < 0:
		(*h)[0] = one
		heap.Fix(h, 0)
	}
}

func (h smallest) sorted() []diff.Held {
	list := slices.Clone(h)
	slices.SortFunc(list, func(a, b diff.Held) int { return bySize(b, a) })
	return list
}
