package native

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Explain tells why path is or is not among the changes, layer by layer. It
// looks the path up as [Engine.Changes] does and records what it meets. See
// [diff.CleanPath] for the path; one that is in neither view is no error.
//
// Of the options it heeds Content and OnRace. Errors: those of Changes at this
// path, [MarkError] among them, and a [diff.RaceError] if what is there changes
// faster than it can be read.
func (e *Engine) Explain(ctx context.Context, path string, opts diff.Options) (x diff.Explanation, err error) {
	if path, err = diff.CleanPath(path); err != nil {
		return x, err
	}
	pool := fswalk.NewPool(0)
	defer pool.Close()
	var a inode.Attempt
	for again := true; again; again = a.Again(err) {
		if err = ctx.Err(); err == nil {
			x, err = e.explain(ctx, pool, path, opts)
		}
	}
	return x, inode.Settle("explain", path, a.Raced, err, opts)
}

func (e *Engine) explain(ctx context.Context, pool *fswalk.Pool, path string, opts diff.Options) (diff.Explanation, error) {
	opts.Kinds = false
	w, root := e.newWalk(pool, opts)
	t := &trace{}
	v := &explaining{ctx: ctx, walk: w, trace: t, node: root}
	x, err := inode.Explain(path, v)
	if err == nil {
		x.Layers, err = v.layers(e)
	}
	return x, err
}

// explaining is the [inode.Views] of the layers.
type explaining struct {
	ctx    context.Context //nolint:containedctx // lives for one path
	walk   *walk
	trace  *trace
	lookup *lookup  // of the last name
	node   node     // in which the next name is looked up
	parent node     // in which the last one was
	names  []string // that were looked up
	found  []both   // what was found: the roots, then at each name
}

// both is what the two views show, nil: nothing.
type both struct{ old, new *object }

func (b both) in(inNew bool) *object {
	if inNew {
		return b.new
	}
	return b.old
}

// Next implements [inode.Views].
func (v *explaining) Next(name string) (*inode.Ref, *inode.Ref, error) {
	if name == "" {
		return v.root()
	}
	v.trace.level++
	v.names = append(v.names, name)
	v.lookup = v.newLookup() // the last one is not reset: the trace has what it met
	from, to, err := v.lookup.resolveBoth(&v.node, entryName(name))
	if err != nil {
		return nil, nil, err
	}
	v.parent, v.node = v.node, node{shown: v.node.shown}
	if from != nil {
		v.node.old = from.dirs.lowers
	}
	if to != nil {
		v.node.new = to.dirs
		if to.meta.IsDir() {
			v.node.shown = v.node.shown.and(to)
		}
	}
	v.found = append(v.found, both{from, to})
	return from.ref(), to.ref(), nil
}

func (v *explaining) newLookup() *lookup {
	return &lookup{resolver: &v.walk.resolver, trace: v.trace}
}

// entryName is a name that the upper directory may have.
func entryName(s string) name { return name{name: s, inUpper: true} }

// root is the roots as entries of the views.
func (v *explaining) root() (*inode.Ref, *inode.Ref, error) {
	v.lookup = v.newLookup()
	upper, err := v.walk.root(0)
	if err != nil {
		return nil, nil, err
	}
	lower, err := v.walk.root(1)
	if err != nil {
		return nil, nil, err
	}
	v.found = []both{{
		old: &object{meta: lower, data: lower, dirs: merged{lowers: v.node.old}},
		new: &object{meta: upper, data: upper, dirs: v.node.new},
	}}
	return lower, upper, nil
}

// root returns the root of a layer.
func (w *walk) root(layer int) (*inode.Ref, error) {
	r := &inode.Ref{Dir: w.roots[layer].dir, Lens: w.layers[layer].lens}
	return r, r.Reload()
}

// Compare implements [inode.Views].
func (v *explaining) Compare() (inode.Pair, diff.What, error) {
	b := v.found[len(v.found)-1]
	what, err := v.walk.differ(v.ctx, v.lookup, b.old, b.new)
	return v.walk.comparison(v.ctx, v.lookup, b.old, b.new).Pair, what, err
}

// layers tells what was met in each layer.
func (v *explaining) layers(e *Engine) ([]diff.LayerAt, error) {
	list := []diff.LayerAt{}
	for i, l := range e.layers {
		at := diff.LayerAt{Kind: kindOf(i), Number: i, Dir: l.path, Marks: v.trace.marks(e.marks, i, v.walk.roots[i].dir)}
		var err error
		if i > 0 {
			if at.Old, err = v.place(false, i); err != nil {
				return nil, err
			}
		}
		if at.New, err = v.place(true, i); err != nil {
			return nil, err
		}
		list = append(list, at)
		if i > 0 || v.walk.search == nil {
			continue
		}
		if p, err := v.indexed(); err != nil {
			return nil, err
		} else if p != nil {
			list = append(list, diff.LayerAt{Kind: diff.LayerIndex, Dir: e.index.path, New: p})
		}
	}
	return v.dataLayers(e, list)
}

func kindOf(layer int) diff.LayerKind {
	if layer == 0 {
		return diff.LayerUpper
	}
	return diff.LayerLower
}

// place tells where the lookups of a view ended in a layer.
func (v *explaining) place(inNew bool, layer int) (*diff.Place, error) {
	root := v.walk.roots[layer].dir
	level, dir := 0, root
	s, asked := v.trace.last(inNew, func(s sight) bool { return s.layer == layer })
	switch {
	case asked && (s.level == len(v.names) || !v.merges(inNew, s)):
		return v.credited(s.probe, root, inNew, s.level == len(v.names) && v.merges(inNew, s)), nil
	case asked:
		level, dir = s.level, s.child()
	case len(v.names) == 0:
		r, err := v.walk.root(layer)
		if err != nil {
			return nil, err
		}
		return v.credited(&probe{ref: *r, dir: root}, root, inNew, true), nil
	}
	by, ok := v.trace.last(inNew, func(s sight) bool { return s.level == level+1 })
	if !ok {
		return nil, nil //nolint:nilnil // not reached: the layer itself would have been asked
	}
	names := strings.Split(by.want, "/") // as this layer would have been asked for
	if names[0] == "" {
		names, dir = names[1:], root
	}
	at, err := v.peek(layer, dir, append(names, v.names[level+1:]...))
	if err == nil {
		at.HiddenBy = &diff.Hider{Kind: kindOf(by.layer), Number: by.layer, At: by.within(v.walk.roots[by.layer].dir), Has: by.has()}
	}
	return at, err
}

// peek tells what is there that no lookup came to.
func (v *explaining) peek(layer int, dir *fswalk.Dir, names []string) (*diff.Place, error) {
	for {
		p, err := v.lookup.probe(layer, dir, names[0])
		if err != nil {
			return nil, err
		}
		if names = names[1:]; len(names) == 0 || p.absent || p.whiteout || !p.ref.IsDir() {
			return p.place(v.walk.roots[layer].dir), nil
		}
		dir = p.child()
	}
}

// merges reports whether s is one of the directories that a view merges.
func (v *explaining) merges(inNew bool, s sight) bool {
	o := v.found[s.level].in(inNew)
	if o == nil || s.dir == nil {
		return false
	}
	if s.layer == 0 {
		return o.dirs.upper == s.dir
	}
	return slices.ContainsFunc(o.dirs.lowers, func(p part) bool { return p.layer == s.layer && p.dir == s.dir })
}

// credited is the place of p with what the view takes from it.
func (v *explaining) credited(p *probe, root *fswalk.Dir, inNew, merged bool) *diff.Place {
	at := p.place(root)
	at.Merged = merged
	if o := v.found[len(v.names)].in(inNew); o != nil {
		is := func(r *inode.Ref) bool { return r.Dir == p.ref.Dir && r.Name == p.ref.Name }
		at.Metadata = is(o.meta)
		at.Content = is(o.data) && o.blob == "" && p.ref.Stat.Format() == sys.Regular
	}
	return at
}

// indexed is the index entry that the new view shows, nil: none.
func (v *explaining) indexed() (*diff.Place, error) {
	o, index := v.found[len(v.names)].new, v.walk.search.dir
	if o == nil || o.meta.Dir != index {
		return nil, nil //nolint:nilnil // none is an answer
	}
	p, err := v.lookup.probe(0, index, o.meta.Name)
	if err != nil {
		return nil, err
	}
	return v.credited(p, index, true, false), nil
}

// dataLayers adds the data-only layers, as far as they are asked for the content.
func (v *explaining) dataLayers(e *Engine, list []diff.LayerAt) ([]diff.LayerAt, error) {
	b := v.found[len(v.names)]
	from, err := v.blobs(b.old)
	if err != nil {
		return nil, err
	}
	to, err := v.blobs(b.new)
	if err != nil {
		return nil, err
	}
	for i, l := range e.data {
		list = append(list, diff.LayerAt{Kind: diff.LayerData, Number: i + 1, Dir: l.path, Old: from[i], New: to[i]})
	}
	return list, nil
}

// blobs is where the data-only layers are asked for the content of o, by layer.
func (v *explaining) blobs(o *object) ([]*diff.Place, error) {
	places := make([]*diff.Place, len(v.walk.data))
	if o == nil || o.blob == "" {
		return places, nil
	}
	for i, root := range v.walk.data {
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
