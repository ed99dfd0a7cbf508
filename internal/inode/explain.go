package inode

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Explain fills in the differences, which what names, and those that don't count.
func (p *Pair) Explain(x *diff.Explanation, what diff.What) error {
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
		return r.ShowTarget()
	}
	return "", nil // content
}

// ShowTarget returns the target of a symbolic link for people.
func (r *Ref) ShowTarget() (string, error) {
	target, err := r.target()
	return cut(diff.QuotePath(target)), err
}

// explainXattrs names the attributes that differ.
func (p *Pair) explainXattrs(x *diff.Explanation) error {
	from, names, err := p.Old.xattrValues(p.Visible)
	if err != nil {
		return err
	}
	to, more, err := p.New.xattrValues(p.Visible)
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
func (r *Ref) xattrValues(visible func(string) (string, bool)) (values map[string][]byte, names []string, err error) {
	list, err := r.xattrs(visible, true)
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
