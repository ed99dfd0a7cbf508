package inode

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Views are the two views, in which an engine looks a path up.
type Views interface {
	// Next looks at name in the directories that it found before; nil: not
	// there. First of all it is asked for "", which is the roots.
	Next(name string) (from, to *Ref, err error)
	// Compare returns what Next found last, and in what it differs.
	Compare() (Pair, diff.What, error)
}

// Explain looks up a path, a clean one, and returns what the views show there.
func Explain(path string, v Views) (x diff.Explanation, err error) {
	x = diff.Explanation{Path: path, Differences: []diff.Difference{}, Ignored: []diff.Difference{}, Layers: []diff.LayerAt{}}
	from, to, err := v.Next("")
	if err != nil {
		return x, err
	}
	var gone *diff.Change // of a directory above the path, which is none any more
	above := ""
	for path != "/" && above != path {
		name, _, _ := strings.Cut(path[len(above)+1:], "/")
		if from, to, err = v.Next(name); err != nil {
			return x, err
		}
		above = path[:len(above)+1+len(name)]
		switch {
		case above == path:
		case from == nil && to == nil:
			return x, nil
		case !isDir(from) && !isDir(to):
			x.NotDir, err = notDir(above, from, to)
			return x, err
		case isDir(from) && !isDir(to) && gone == nil:
			c, _ := Classify(above, from, to, func() (diff.What, error) { return diff.WhatType, nil })
			gone = &c
		}
	}
	x.Old, x.New = from.entry(), to.entry()
	if gone != nil && from != nil {
		x.Change = gone
		return x, nil
	}
	return x, conclude(&x, v, from, to)
}

// Descend looks up a path, a clean one: what v found last is then what is there.
func Descend(path string, v Views) error {
	_, _, err := v.Next("")
	for name := range strings.SplitSeq(path[1:], "/") {
		if err != nil || name == "" {
			break
		}
		_, _, err = v.Next(name)
	}
	return err
}

func isDir(r *Ref) bool { return r != nil && r.IsDir() }

func notDir(path string, from, to *Ref) (*diff.NotDir, error) {
	r := to
	if r == nil {
		r = from
	}
	n := &diff.NotDir{Path: path, Type: r.Entry().Type}
	if n.Type != diff.Symlink {
		return n, nil
	}
	target, err := r.target()
	n.Target = cut(diff.QuotePath(target))
	return n, err
}

// entry is [Ref.Entry], nil for nil.
func (r *Ref) entry() *diff.Entry {
	if r == nil {
		return nil
	}
	e := r.Entry()
	return &e
}

// conclude fills in what follows from what is at the path itself.
func conclude(x *diff.Explanation, v Views, from, to *Ref) error {
	c, err := Classify(x.Path, from, to, func() (diff.What, error) {
		pair, what, err := v.Compare()
		if err == nil {
			err = pair.explain(x, what)
		}
		return what, err
	})
	if err == nil && c.Kind != 0 && x.Path != "/" {
		x.Change = &c
	}
	return err
}

// explain fills in the differences, which what names, and those that don't count.
func (p Pair) explain(x *diff.Explanation, what diff.What) error {
	from, to := p.Old.Entry(), p.New.Entry()
	for _, name := range what.Names() {
		if name == diff.WhatXattrs.String() {
			continue // each by its name
		}
		d := diff.Difference{What: name}
		var err error
		if d.Old, err = p.Old.show(name, &from); err != nil {
			return err
		}
		if d.New, err = p.New.show(name, &to); err != nil {
			return err
		}
		x.Differences = append(x.Differences, d)
	}
	if what == diff.WhatType {
		return nil
	}
	if from.Type == diff.Dir && from.Mtime != to.Mtime {
		x.Ignored = append(x.Ignored, diff.Difference{What: diff.WhatMtime.String(), Old: from.Mtime.String(), New: to.Mtime.String()})
	}
	if from.Type != diff.Dir && from.Nlinks != to.Nlinks {
		x.Ignored = append(x.Ignored, diff.Difference{What: "links", Old: strconv.Itoa(int(from.Nlinks)), New: strconv.Itoa(int(to.Nlinks))})
	}
	return p.explainXattrs(x)
}

// show returns a value of r for people.
func (r *Ref) show(what string, e *diff.Entry) (string, error) {
	switch what {
	case diff.WhatType.String():
		return e.Type.String(), nil
	case diff.WhatMode.String():
		return fmt.Sprintf("%04o", e.Mode), nil
	case diff.WhatUID.String():
		return strconv.Itoa(int(e.UID)), nil
	case diff.WhatGID.String():
		return strconv.Itoa(int(e.GID)), nil
	case diff.WhatDevice.String():
		return e.Device(), nil
	case diff.WhatSize.String():
		return strconv.FormatInt(e.Size, 10), nil
	case diff.WhatMtime.String():
		return e.Mtime.String(), nil
	case diff.WhatTarget.String():
		target, err := r.target()
		return cut(diff.QuotePath(target)), err
	}
	return "", nil // content
}

// explainXattrs names the attributes that differ.
func (p Pair) explainXattrs(x *diff.Explanation) error {
	from, names, err := p.xattrValues(p.Old)
	if err != nil {
		return err
	}
	to, more, err := p.xattrValues(p.New)
	if err != nil {
		return err
	}
	names = append(names, more...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		a, inOld := from[name]
		b, inNew := to[name]
		if inOld == inNew && bytes.Equal(a, b) {
			continue
		}
		d := diff.Difference{What: diff.WhatXattrs.String(), Name: diff.QuotePath(name)}
		if inOld {
			d.Old = showXattr(a)
		}
		if inNew {
			d.New = showXattr(b)
		}
		if diff.IgnoresXattr(name) {
			x.Ignored = append(x.Ignored, d)
		} else {
			x.Differences = append(x.Differences, d)
		}
	}
	return nil
}

// xattrValues returns the attributes that a view shows, by name.
func (p Pair) xattrValues(r *Ref) (values map[string][]byte, names []string, err error) {
	list, err := p.xattrs(r, true)
	if err != nil {
		return nil, nil, err
	}
	values = map[string][]byte{}
	for _, a := range list {
		v, ok, err := value(r, a.name)
		switch {
		case err != nil && !diff.IgnoresXattr(a.visible):
			return nil, nil, err
		case err != nil || !ok:
			continue
		}
		values[a.visible] = v
		names = append(names, a.visible)
	}
	return values, names, nil
}

func showXattr(v []byte) string {
	if len(v) > longest {
		return strconv.Quote(string(v[:longest])) + "…"
	}
	return strconv.Quote(string(v))
}

// longest is how many bytes of a value are shown.
const longest = 64

// cut cuts off what is too long to show.
func cut(s string) string {
	if r := []rune(s); len(r) > 4*longest {
		return string(r[:4*longest]) + "…"
	}
	return s
}
