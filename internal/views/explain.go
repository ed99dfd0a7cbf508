package views

import (
	"context"
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Explain returns what the views show at path, in what that differs, and what was met in
// each layer. See [diff.CleanPath] for the path; one that is in neither view is no error.
//
// Of the options it heeds Content and OnRace. Errors: those of Changes at this path, and a
// [diff.RaceError] if what is there changes faster than it can be read.
func Explain[D any, N fmt.Stringer](
	ctx context.Context, path string, opts diff.Options, open Open[D, N],
) (x diff.Explanation, err error) {
	if path, err = diff.CleanPath(path); err != nil {
		return x, err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	err = along(ctx, pool, "explain", path, opts, open, func(d *descent[D, N]) (err error) {
		x = diff.Explanation{Path: path, Differences: []diff.Difference{}, Ignored: []diff.Difference{}, Layers: []diff.LayerAt{}}
		if err = d.explain(&x); err == nil {
			x.Layers, err = d.views.Layers()
		}
		return err
	})
	return x, err
}

// explain fills in all but the layers.
func (d *descent[D, N]) explain(x *diff.Explanation) error {
	if err := d.next(""); err != nil {
		return err
	}
	var gone *diff.Change // of a directory above the path, which is none any more
	above := ""
	for x.Path != "/" && above != x.Path {
		name, _, _ := strings.Cut(x.Path[len(above)+1:], "/")
		d.Visit.dir = above
		if err := d.next(name); err != nil {
			return err
		}
		above = x.Path[:len(above)+1+len(name)]
		switch {
		case above == x.Path:
		case d.Old == nil && d.New == nil:
			return nil
		case !isDir(d.Old) && !isDir(d.New):
			return d.notDir(x)
		case isDir(d.Old) && !isDir(d.New) && gone == nil:
			gone = d.gone()
		}
	}
	x.Old, x.New = entryOf(d.Old), entryOf(d.New)
	if gone != nil && d.Old != nil {
		x.Change = gone
		return nil
	}
	return d.conclude(x)
}

func isDir(r *inode.Ref) bool { return r != nil && r.IsDir() }

func entryOf(r *inode.Ref) *diff.Entry {
	if r == nil {
		return nil
	}
	e := r.Entry()
	return &e
}

// notDir says that the path leads through what is no directory in either view.
func (d *descent[D, N]) notDir(x *diff.Explanation) (err error) {
	r := d.New
	if r == nil {
		r = d.Old
	}
	x.NotDir = &diff.NotDir{Path: d.Path(), Type: r.Entry().Type}
	if x.NotDir.Type == diff.Symlink {
		x.NotDir.Target, err = r.ShowTarget()
	}
	return err
}

// gone is the change of what was a directory and is none any more.
func (d *descent[D, N]) gone() *diff.Change {
	if d.New == nil {
		return &diff.Change{Kind: diff.Delete, Path: d.Path(), Entry: d.Old.Entry()}
	}
	return &diff.Change{Kind: diff.Modify, What: diff.WhatType, Path: d.Path(), Entry: d.New.Entry()}
}

// conclude fills in what follows from what is at the path itself.
func (d *descent[D, N]) conclude(x *diff.Explanation) error {
	if err := d.compare(); err != nil {
		return err
	}
	if d.Old != nil && d.New != nil {
		if err := d.Explain(x, d.Change.What); err != nil {
			return err
		}
	}
	if d.Change.Kind != 0 && x.Path != "/" {
		x.Change = &d.Change
	}
	return nil
}
