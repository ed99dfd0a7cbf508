package overlaydiff

import (
	"context"
	"fmt"
	"slices"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
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
// A path that is in neither view is no error: Old and New are nil then. Ids are those that
// [Options.Owners] says.
func (d *Diff) Explain(ctx context.Context, path string) (diff.Explanation, error) {
	x, err := d.engine.Explain(ctx, path, d.walkOptions())
	x.Owners = string(OwnersHost)
	if ids := d.Container(); err == nil && !ids.IsZero() {
		x.Owners = string(OwnersContainer)
		inContainer{ids.Inverse(), &x}.explanation()
	}
	return x, err
}

// inContainer changes the ids of an explanation to those of the container.
type inContainer struct {
	ids diff.IDMap
	x   *diff.Explanation
}

func (c inContainer) explanation() {
	c.entry(c.x.Old)
	c.entry(c.x.New)
	if c.x.Change != nil {
		c.entry(&c.x.Change.Entry)
	}
	for _, l := range c.x.Layers {
		for _, p := range []*diff.Place{l.Old, l.New} {
			if p != nil {
				c.entry(p.Seen)
			}
		}
	}
	for i := range c.x.Differences {
		d := &c.x.Differences[i]
		switch d.What {
		case diff.WhatUID.String():
			d.Old, d.New = fmt.Sprint(c.x.Old.UID), fmt.Sprint(c.x.New.UID)
		case diff.WhatGID.String():
			d.Old, d.New = fmt.Sprint(c.x.Old.GID), fmt.Sprint(c.x.New.GID)
		}
	}
}

func (c inContainer) entry(e *diff.Entry) {
	if e == nil {
		return
	}
	e.UID = c.id(c.ids.Users, "uid", e.UID)
	e.GID = c.id(c.ids.Groups, "gid", e.GID)
}

func (c inContainer) id(ranges []diff.IDRange, kind string, host uint32) uint32 {
	if id, ok := diff.HostID(ranges, host); ok {
		return id
	}
	if !slices.Contains(c.x.Unmapped, host) {
		c.x.Unmapped = append(c.x.Unmapped, host)
	}
	return sys.OverflowID(kind)
}

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
