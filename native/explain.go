package native

import (
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Layers implements [views.Views].
func (w *view) Layers() ([]diff.LayerAt, error) { return w.trace.end().layersAt() }

// layersAt returns what the lookups up to this one, the last, met in each layer.
func (l *lookup) layersAt() ([]diff.LayerAt, error) {
	list := []diff.LayerAt{}
	for i, layer := range l.layers {
		at := diff.LayerAt{Kind: kindOf(i), Number: i, Dir: layer.path, Marks: l.trace.marks(l.marks, i, l.roots[i].dir)}
		var err error
		if i > 0 {
			if at.Old, err = l.place(false, i); err != nil {
				return nil, err
			}
		}
		if at.New, err = l.place(true, i); err != nil {
			return nil, err
		}
		list = append(list, at)
		if i > 0 || l.search == nil {
			continue
		}
		if p, err := l.indexEntry(); err != nil {
			return nil, err
		} else if p != nil {
			list = append(list, diff.LayerAt{Kind: diff.LayerIndex, Dir: l.search.path, New: p})
		}
	}
	return l.dataLayers(list)
}

func kindOf(layer int) diff.LayerKind {
	if layer == 0 {
		return diff.LayerUpper
	}
	return diff.LayerLower
}

// place tells where the lookups of a view ended in a layer.
func (l *lookup) place(inNew bool, layer int) (*diff.Place, error) {
	root := l.roots[layer].dir
	level, dir, path := 0, root, l.trace.names()
	s, asked := l.trace.last(inNew, func(s sight) bool { return s.layer == layer })
	switch {
	case asked && (s.level == len(path) || !l.merges(inNew, s)):
		return l.credited(s.probe, root, inNew, s.level == len(path) && l.merges(inNew, s)), nil
	case asked:
		level, dir = s.level, s.child()
	case len(path) == 0:
		p, err := l.root(layer)
		if err != nil {
			return nil, err
		}
		return l.credited(p, root, inNew, true), nil
	}
	by, ok := l.trace.last(inNew, func(s sight) bool { return s.level == level+1 })
	if !ok {
		return nil, nil //nolint:nilnil // not reached: the layer itself would have been asked
	}
	names := strings.Split(by.want, "/") // as this layer would have been asked for
	if names[0] == "" {
		names, dir = names[1:], root
	}
	at, err := l.peek(layer, dir, append(names, path[level+1:]...))
	if err == nil {
		at.HiddenBy = &diff.Hider{Kind: kindOf(by.layer), Number: by.layer, At: by.within(l.roots[by.layer].dir), Has: by.has()}
	}
	return at, err
}

// peek tells what is there that no lookup came to.
func (l *lookup) peek(layer int, dir *fswalk.Dir, names []string) (*diff.Place, error) {
	for {
		p, err := l.probe(layer, dir, names[0])
		if err != nil {
			return nil, err
		}
		if names = names[1:]; len(names) == 0 || p.absent || p.whiteout || !p.ref.IsDir() {
			return p.place(l.roots[layer].dir), nil
		}
		dir = p.child()
	}
}

// merges reports whether s is one of the directories that a view merges.
func (l *lookup) merges(inNew bool, s sight) bool {
	o := l.trace.steps[s.level].shows(inNew)
	if o == nil || s.dir == nil {
		return false
	}
	if s.layer == 0 {
		return o.dirs.upper == s.dir
	}
	return slices.ContainsFunc(o.dirs.lowers, func(p part) bool { return p.layer == s.layer && p.dir == s.dir })
}

// credited is the place of p with what the view takes from it.
func (l *lookup) credited(p *probe, root *fswalk.Dir, inNew, merged bool) *diff.Place {
	at := p.place(root)
	at.Merged = merged
	if o := l.shows(inNew); o != nil {
		is := func(r *inode.Ref) bool { return r.Dir == p.ref.Dir && r.Name == p.ref.Name }
		at.Metadata = is(o.meta)
		at.Content = is(o.data) && o.blob == "" && p.ref.Stat.Format() == sys.Regular
	}
	return at
}

// indexEntry is the index entry that the new view shows, nil: none.
func (l *lookup) indexEntry() (*diff.Place, error) {
	o, index := l.to, l.search.dir
	if o == nil || o.meta.Dir != index {
		return nil, nil //nolint:nilnil // none is an answer
	}
	p, err := l.probe(0, index, o.meta.Name)
	if err != nil {
		return nil, err
	}
	return l.credited(p, index, true, false), nil
}

// dataLayers adds the data-only layers, as far as they are asked for the content.
func (l *lookup) dataLayers(list []diff.LayerAt) ([]diff.LayerAt, error) {
	from, err := l.blobPlaces(l.from)
	if err != nil {
		return nil, err
	}
	to, err := l.blobPlaces(l.to)
	if err != nil {
		return nil, err
	}
	for i, layer := range l.data {
		list = append(list, diff.LayerAt{Kind: diff.LayerData, Number: i + 1, Dir: layer.path, Old: from[i], New: to[i]})
	}
	return list, nil
}

// blobPlaces is where the data-only layers are asked for the content of o, by layer.
func (l *lookup) blobPlaces(o *object) ([]*diff.Place, error) {
	places := make([]*diff.Place, len(l.blobs))
	if o == nil || o.blob == "" {
		return places, nil
	}
	for i, root := range l.blobs {
		p, err := blobPlace(root, o.blob)
		if err != nil {
			return nil, err
		}
		if places[i] = p; p.Content {
			break
		}
	}
	return places, nil
}

func blobPlace(root *fswalk.Dir, path string) (*diff.Place, error) {
	ref, err := find(root, path)
	var errno syscall.Errno
	if errors.As(err, &errno) && elsewhere(errno) {
		return &diff.Place{At: path, Has: diff.Nothing}, nil
	}
	if err != nil {
		return nil, err
	}
	e := ref.Entry()
	return &diff.Place{At: path, Has: diff.Presence(e.Type.String()), Seen: &e, Content: true}, nil
}
