package native

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/kernel"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/views"
)

// view is the two views of the layers, for one question: a [views.Views].
type view struct {
	resolver
	lower   bool   // see [diff.Want]
	trace   *trace // nil: nobody asks how names were found
	show    func(name string) (string, bool)
	lookups sync.Pool
}

// dir is a directory of the new view, with what the old view has at that path.
type dir struct {
	old []part
	new merged
	// shown are the lower directories that are directories of the new view above, and
	// this one.
	shown *shown
}

// views implements [views.Open].
func (e *Engine) views(_ context.Context, pool *fswalk.Pool, q views.Question) (views.Views[dir, name], error) {
	w := &view{resolver: resolver{Engine: e}}
	w.lower = q.Want != nil && q.Want.Lower
	w.show = w.visible
	if q.One {
		w.trace = &trace{}
	}
	for i, l := range e.layers {
		w.roots = append(w.roots, part{layer: i, dir: pool.Root(l.tree.FD(), l.path)})
	}
	for _, l := range e.data {
		w.blobs = append(w.blobs, pool.Root(l.tree.FD(), l.path))
	}
	if e.index != nil {
		w.search = &search{index: e.index, dir: pool.Root(e.index.fd, e.index.path), found: map[string]struct{}{}, above: map[string]struct{}{}}
	}
	return w, nil
}

// Root implements [views.Views].
func (w *view) Root() dir {
	return dir{old: w.roots[1:], new: merged{upper: w.roots[0].dir, lowers: w.roots[1:]}}
}

// Name implements [views.Views].
func (w *view) Name(s string) name { return name{name: s, inUpper: true} }

// everywhere reports whether a directory of the new view may not be passed over because
// the upper has nothing in it. lowers are its directories in the lower layers.
func (w *view) everywhere(lowers []part) bool {
	return w.search.goesOn() || w.lower || w.search.isAbove(lowers)
}

// Names implements [views.Views]. If both views take the same directories of the lower
// layers, they can differ only at what the upper names, unless all are asked for.
func (w *view) Names(ctx context.Context, d *dir) ([]name, error) {
	lists := make([][]sys.Dirent, 1) // the upper directory's, if there is one
	all := w.everywhere(d.new.lowers)
	var err error
	if d.new.upper != nil {
		if lists[0], err = w.list(ctx, part{dir: d.new.upper}); err != nil {
			return nil, err
		}
	}
	if !all && sameParts(d.old, d.new.lowers) {
		return union(lists), nil
	}
	lowers := slices.Clone(d.old)
	for _, p := range d.new.lowers {
		if !slices.ContainsFunc(d.old, p.same) {
			lowers = append(lowers, p)
		}
	}
	for _, p := range lowers {
		list, err := w.list(ctx, p)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return union(lists), nil
}

// list lists a directory of a layer: the names in it, and those that it deletes. One of a
// layer that is an overlay itself may refuse.
func (r *resolver) list(ctx context.Context, p part) ([]sys.Dirent, error) {
	list, err := p.dir.List(ctx)
	if r.layers[p.layer].overlay {
		list, err = inode.List(ctx, p.dir)
		err = inode.Refusal(err)
	}
	if err != nil || !r.marks.Fuse {
		return list, err
	}
	return fuseNames(list), nil
}

// Enter implements [views.Views].
func (w *view) Enter(d *dir) views.Lookup[dir, name] {
	l, _ := w.lookups.Get().(*lookup)
	if l == nil {
		l = &lookup{view: w, trace: w.trace}
	}
	l.dir = d
	l.hold()
	return l
}

// Leave implements [views.Lookup]. What a trace refers to is not used again.
func (l *lookup) Leave() {
	l.release()
	if l.trace == nil {
		l.dir = nil
		l.lookups.Put(l)
	}
}

// held is how many directories of lower layers stay open while names are looked
// up in them, beside the upper one: most names are found in the topmost.
const held = 4

// hold keeps the directories open that names are looked up in, until release.
func (l *lookup) hold() {
	d := l.dir
	l.held = l.heldDirs[:0]
	if d.new.upper != nil && d.new.upper.Hold() {
		l.held = append(l.held, d.new.upper)
	}
	for _, p := range d.old[:min(held, len(d.old))] {
		if p.dir.Hold() {
			l.held = append(l.held, p.dir)
		}
	}
}

func (l *lookup) release() {
	for i, d := range l.held {
		d.Release()
		l.held[i] = nil
	}
}

// Lookup implements [views.Lookup].
func (l *lookup) Lookup(nm name, v *views.Visit[dir]) (err error) {
	l.reset()
	l.name = nm
	if nm.name == "" {
		err = l.atRoot()
	} else {
		err = l.both()
	}
	if err != nil {
		return err
	}
	if l.trace != nil {
		l.trace.steps = append(l.trace.steps, l)
	} else if err := l.note(l.from); err != nil {
		return err
	}
	v.Old, v.New, v.Visible, v.Data = l.from.ref(), l.to.ref(), l.show, l
	v.Child.shown = l.dir.shown
	if l.from != nil {
		v.Child.old, v.Was = l.from.dirs.lowers, l.from.meta.ID()
	}
	if to := l.to; to != nil {
		v.Child.new = to.dirs
		v.Lower, v.Uncounted = to.layer > 0, l.search != nil && to.layer == 0
		v.Own = to.layer == 0 && to.data == to.meta && to.blob == ""
	}
	if l.to != nil && l.to.meta.IsDir() {
		v.Child.shown = l.dir.shown.and(l.to)
		v.Opaque = l.to.dirs.upper != nil && len(l.to.dirs.lowers) == 0
		same := l.to.dirs.upper == nil && sameParts(v.Child.old, l.to.dirs.lowers)
		v.Below = !same || l.everywhere(l.to.dirs.lowers)
	}
	v.Proven = l.from != nil && l.to != nil && l.from.meta.Equal(l.to.meta) && l.from.sameContent(l.to)
	return nil
}

// atRoot finds the roots as entries of the views.
func (l *lookup) atRoot() error {
	upper, err := l.root(0)
	if err != nil {
		return err
	}
	lower, err := l.root(1)
	if err != nil {
		return err
	}
	l.from = &object{meta: &lower.ref, data: &lower.ref, dirs: merged{lowers: l.dir.old}}
	l.to = &object{meta: &upper.ref, data: &upper.ref, dirs: l.dir.new, own: true}
	return nil
}

// root returns the root of a layer.
func (l *lookup) root(layer int) (*probe, error) {
	p := l.probes.new()
	p.dir = l.roots[layer].dir
	p.ref = inode.Ref{Dir: p.dir, Lens: l.layers[layer].lens}
	return p, p.ref.Reload()
}

// both looks the name up in both views.
func (l *lookup) both() (err error) {
	if l.to, err = l.resolve(l.parent(true), l.name.name, true); err != nil {
		return err
	}
	if l.dir.shown.has(l.to) {
		return markError(l.to.meta, l.marks.Redirect, "the lower directory to which it leads is a directory above it already", syscall.ESTALE)
	}
	l.from, err = l.resolve(l.parent(false), l.name.name, false)
	return err
}

// parent returns what a view consists of at the name's directory.
func (l *lookup) parent(inNew bool) merged {
	switch {
	case !inNew:
		return merged{lowers: l.dir.old}
	case l.name.inUpper:
		return l.dir.new
	}
	return merged{lowers: l.dir.new.lowers}
}

// visible is what the mount shows of an attribute, see
// [whiteout.Namespace.Visible].
func (r *resolver) visible(name string) (string, bool) {
	shown, ok := r.marks.Visible(name)
	if ok && strings.HasPrefix(name, r.marks.Prefix) && !kernel.Running().Escapes {
		return "", false
	}
	return shown, ok
}
