package main

import (
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
)

// verdict says in one line what the diff lists for the path, and why.
func (r *explanation) verdict() string {
	c := r.Change
	if c == nil {
		return "not in the diff: " + r.whyNot()
	}
	return c.String() + ": " + r.why(c)
}

func (r *explanation) why(c *diff.Change) string {
	path := diff.QuotePath(r.Path)
	switch {
	case c.Path != r.Path && c.Kind == diff.Delete:
		return join(": ", "the directory was deleted, and "+path+" with it", r.whyGone())
	case c.Path != r.Path:
		return join(": ", "the directory became "+article(presence(diff.Presence(c.Entry.Type.String())))+", and "+path+" is gone", r.whyGone())
	case c.Kind == diff.Add:
		return r.whyAdded()
	case c.Kind == diff.Delete:
		if why := r.whyGone(); why != "" {
			return why
		}
		return "only in the old view"
	case c.What == diff.WhatType && r.Old != nil && r.New != nil:
		return article(presence(diff.Presence(r.Old.Type.String()))) + " became " + article(presence(diff.Presence(r.New.Type.String())))
	}
	text := "modified: " + strings.Join(c.What.Names(), ", ")
	if l := r.shown(inNew); l != nil && l.Kind == diff.LayerIndex {
		text += "; by another name of the inode, which the index ties together"
	}
	return text
}

func inOld(l diff.LayerAt) *diff.Place { return l.Old }
func inNew(l diff.LayerAt) *diff.Place { return l.New }

// shown returns the layer whose metadata a view shows, nil if it is not known.
func (r *explanation) shown(in func(diff.LayerAt) *diff.Place) *diff.LayerAt {
	for i, l := range r.Layers {
		if p := in(l); p != nil && p.Metadata {
			return &r.Layers[i]
		}
	}
	return nil
}

// whyGone says what takes the place of what the old view shows.
func (r *explanation) whyGone() string {
	l := r.shown(inOld)
	if l == nil {
		return ""
	}
	if l.New != nil && l.New.HiddenBy != nil {
		return r.hider(l.New.HiddenBy)
	}
	if m := r.redirect(); m != nil {
		return fmt.Sprintf("%s is now what was %s (%s)", diff.QuotePath(m.At), diff.QuotePath(m.Value), m.Xattr)
	}
	return "the new view has nothing there"
}

// redirect returns the upper layer's redirect that is nearest to the path.
func (r *explanation) redirect() *diff.Mark {
	var nearest *diff.Mark
	for _, l := range r.Layers {
		for i, m := range l.Marks {
			if l.Kind == diff.LayerUpper && strings.HasSuffix(m.Xattr, ".overlay.redirect") {
				nearest = &l.Marks[i]
			}
		}
	}
	return nearest
}

func (r *explanation) whyAdded() string {
	l, m := r.shown(inNew), r.redirect()
	switch {
	case l == nil:
		return "only in the new view"
	case m != nil && m.At == r.Path && r.New.Type == diff.Dir:
		return "the directory was renamed (redirect to " + diff.QuotePath(m.Value) + ")"
	case m != nil && m.At == r.Path:
		return "the file was renamed or linked (redirect to " + diff.QuotePath(m.Value) + ")"
	case m != nil && l.Kind != diff.LayerUpper:
		return fmt.Sprintf("the directory %s was renamed (redirect to %s), so all below it is added", diff.QuotePath(m.At), diff.QuotePath(m.Value))
	}
	return longLayer(l.Kind, l.Number) + " has it, and the lower layers show nothing there"
}

func (r *explanation) whyNot() string {
	switch {
	case r.Path == "/":
		return "the root is never a change"
	case r.New == nil:
		return r.whyAbsent()
	}
	l := r.shown(inNew)
	switch {
	case l == nil:
		return "both views show the same"
	case l.Kind == diff.LayerLower && r.moved(l):
		return "the old and the new view take it from different places of the lower layers, where it is equal"
	case l.Kind == diff.LayerLower:
		return "only in the lower layers"
	case r.New.Type == diff.Dir:
		return longLayer(l.Kind, l.Number) + " has the directory, but in nothing that counts it differs from the lower one"
	case l.New.Has == diff.MetacopyFile:
		return longLayer(l.Kind, l.Number) + " has a copy of the metadata that is equal to the lower one's (copy-up without a change)"
	case r.New.Type != diff.File:
		return longLayer(l.Kind, l.Number) + " has a copy that is equal to the lower one (copy-up without a change)"
	}
	return longLayer(l.Kind, l.Number) + " has a copy that is equal to the lower one (copy-up without a change, " + human.Bytes(r.New.Size) + ")"
}

// moved reports whether the old view shows another place than l's.
func (r *explanation) moved(l *diff.LayerAt) bool {
	old := r.shown(inOld)
	return old != nil && (old.Number != l.Number || old.Old.At != l.New.At)
}

// whyAbsent is about what is in neither view.
func (r *explanation) whyAbsent() string {
	if n := r.NotDir; n != nil {
		if n.Type == diff.Symlink {
			return fmt.Sprintf("%s is a symbolic link to %s, and links are not followed: ask for the path that it leads to", diff.QuotePath(n.Path), n.Target)
		}
		return diff.QuotePath(n.Path) + " is " + article(presence(diff.Presence(n.Type.String()))) + ", so there is nothing below it"
	}
	isWhiteout := func(p *diff.Place) bool { return p.Has == diff.Whiteout || p.Has == diff.XattrWhiteout }
	for _, l := range r.Layers {
		switch p := l.New; {
		case p == nil:
		case l.Kind == diff.LayerUpper && isWhiteout(p):
			return "whiteout in the upper layer" + r.at(p.At) + ", but the lower layers show nothing there"
		case p.HiddenBy != nil && p.Seen != nil:
			return "in neither view: " + r.hider(p.HiddenBy)
		}
	}
	if len(r.Layers) == 0 {
		return "in neither view"
	}
	return "in neither view: no layer has it"
}

// remarks are what else is worth to know.
func (r *explanation) remarks() []string {
	list := []string{}
	say := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	one := r.New
	if one == nil {
		one = r.Old
	}
	isDir := one != nil && one.Type == diff.Dir
	upper := r.shown(inNew)
	copied := r.Change == nil && one != nil && upper != nil && upper.Kind != diff.LayerLower && !isDir

	say(r.Change != nil && r.Change.Path != r.Path, "What went with a directory is not listed by itself.")
	say(isDir && r.Change == nil, "A directory's modification time and size never count; what is in it is listed by itself.")
	say(copied, "Inode number and change time differ, as after every copy-up; they never count.")
	for _, d := range r.Ignored {
		say(d.Name != "", "%s never counts: it is bound to the inode or chosen anew when a file is copied up.", d.Name)
	}
	if one != nil && !isDir && one.Nlinks > 1 {
		say(true, "The inode has %s names (hard links); each is listed, or not, by itself.", human.Count(int64(one.Nlinks)))
	}
	for _, l := range r.Layers {
		if p := l.New; p != nil && p.Content && !p.Metadata {
			say(true, "The new view has the content from %s, %s: the file above is a metacopy file, which has metadata only.",
				longLayer(l.Kind, l.Number), diff.QuotePath(p.At))
		}
	}
	say(upper != nil && upper.Kind == diff.LayerIndex, "With index=on, all names of a lower inode show the copy in the index once one of them is changed.")
	say(r.Owners == string(overlaydiff.OwnersContainer), "User and group ids are those of the container; --owners host shows the host's.")
	for _, id := range r.Unmapped {
		say(true, "The host's id %d is nobody's in the container, which sees it as the overflow id.", id)
	}
	say(len(r.Layers) == 0, "No layers are shown: the naive engine answers (%s), which compares what both views show.", oneLine(r.Reason))
	return list
}
