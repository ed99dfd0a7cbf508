package native

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Engine compares the two views of one stack. It is a [diff.Engine] and safe
// for concurrent use.
type Engine struct {
	layers   []layer // the upper, then the lower layers, topmost first
	data     []layer // the data-only layers
	index    *index  // nil: no index, or nothing in it
	marks    *whiteout.Namespace
	features diff.Features
	traps    map[diff.Inode]struct{}
}

// Open opens the layers of a stack. Directories that are mounted inside a layer
// are not part of it, as for the kernel.
//
// Errors: those of opening a layer, or one that matches [diff.ErrUnsupported].
func Open(ctx context.Context, s diff.Stack) (*Engine, error) {
	if err := supported(s); err != nil {
		return nil, err
	}
	e := &Engine{marks: whiteout.NamespaceOf(s.Features), features: s.Features}
	if err := e.open(ctx, s); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, s diff.Stack) error {
	mounts := mountutil.Mounts{Opener: s.Opener}
	add := func(list *[]layer, kind string, paths ...string) error {
		for _, path := range paths {
			l, err := openLayer(ctx, &mounts, kind, path)
			if err != nil {
				return err
			}
			l.uuidOff = s.Features.UUIDOff
			*list = append(*list, l)
		}
		return nil
	}
	tree, err := openUpper(s, &mounts)
	if err == nil {
		e.layers = append(e.layers, layer{tree: tree, path: s.Upper, uuidOff: s.Features.UUIDOff})
		err = e.layers[0].look()
	}
	if err == nil {
		err = add(&e.layers, "lower", s.Lower...)
	}
	if err == nil {
		err = add(&e.data, "data-only lower", s.Data...)
	}
	if err == nil && s.Features.Index {
		e.index, err = openIndex(ctx, s, e.layers)
	}
	for i := 0; err == nil && i < len(e.layers); i++ {
		e.layers[i].lens, err = lensOf(s, e.layers[i])
	}
	if err == nil {
		e.setTraps(s)
	}
	return err
}

// Name returns "native".
func (*Engine) Name() string { return "native" }

// Close closes the layers.
func (e *Engine) Close() error {
	var err error
	for _, l := range append(e.layers, e.data...) {
		err = errors.Join(err, l.tree.Close())
	}
	if e.index != nil {
		sys.Close(e.index.fd)
	}
	*e = Engine{}
	return err
}

// Changes implements [diff.Engine].
func (e *Engine) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	return inode.Changes(opts, e.walk(ctx, opts, nil))
}

// Carry implements [diff.Carrier].
func (e *Engine) Carry(ctx context.Context, opts diff.Options, want diff.Want, use func(iter.Seq2[diff.Item, error]) error) error {
	return inode.Carry(opts, e.walk(ctx, opts, &want), use)
}

// walk compares the views; nil wants nothing but changes.
func (e *Engine) walk(ctx context.Context, opts diff.Options, want *diff.Want) func(*fswalk.Pool) iter.Seq2[inode.Found, error] {
	return func(pool *fswalk.Pool) iter.Seq2[inode.Found, error] {
		w, root := e.newWalk(pool, opts)
		w.want = want
		return fswalk.Ordered(ctx, opts.Workers, root, w.expand)
	}
}

// newWalk returns a walk and its root.
func (e *Engine) newWalk(pool *fswalk.Pool, opts diff.Options) (*walk, node) {
	w := &walk{resolver: resolver{layers: e.layers, traps: e.traps, marks: e.marks, features: e.features}, opts: opts}
	for i, l := range e.layers {
		w.roots = append(w.roots, part{layer: i, dir: pool.Root(l.tree.FD(), l.path)})
	}
	for _, l := range e.data {
		w.data = append(w.data, pool.Root(l.tree.FD(), l.path))
	}
	if e.index != nil {
		w.search = &search{index: e.index, dir: pool.Root(e.index.fd, e.index.path), found: map[string]struct{}{}, above: map[string]struct{}{}}
	}
	return w, node{old: w.roots[1:], new: merged{upper: w.roots[0].dir, lowers: w.roots[1:]}}
}

// walk is one walk over the stack.
type walk struct {
	resolver
	opts    diff.Options
	want    *diff.Want
	waste   *waste // nil unless it is asked for, instead of changes
	lookups sync.Pool
}

// everywhere reports whether a directory of the new view may not be passed over because
// the upper has nothing in it. lowers are its directories in the lower layers.
func (w *walk) everywhere(lowers []part) bool {
	return w.search.goesOn() || w.want != nil && w.want.Lower || w.search.isAbove(lowers)
}

// node is a directory of the new view, with what the old view has at that path.
type node struct {
	at   *inode.Path
	path string // at as a string, while the node is expanded
	old  []part
	new  merged
	// shown are the lower directories that are directories of the new view above, and
	// this one.
	shown *shown
	// hides: it, or one above, hides the old view's directory, and what is in it is
	// carried also if it did not change.
	hides bool
	// gone: it was deleted, and new is what the old view had. Only a walk for waste
	// has such nodes.
	gone bool
	// names of the directory that this node is about; nil: all that there are.
	some []name
}

type items = fswalk.Items[node, inode.Found]

// expand compares what the two views have in one directory.
func (w *walk) expand(ctx context.Context, n node, out *items) error {
	n.path = n.at.String()
	names, err := n.some, error(nil)
	if names == nil {
		names, err = w.names(ctx, &n, w.everywhere(n.new.lowers))
	}
	if err != nil {
		if inode.Vanished(err) && n.path != "/" {
			out.Value(inode.Race(n.path))
			return nil
		}
		return inode.Fail(out, n.path, err)
	}
	if len(names) > fswalk.Share {
		for part := range slices.Chunk(names, fswalk.Share) {
			n.some = part
			out.Child(n)
		}
		return nil
	}
	if len(n.old) == 0 { // all that there is was added
		out.Grow(len(names))
	}
	defer n.hold()()
	l := w.lookup()
	defer w.lookups.Put(l)
	for i := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.visit(ctx, &n, names[i], l, out); err != nil {
			return err
		}
	}
	return nil
}

// held is how many directories of lower layers stay open while names are looked
// up in them, beside the upper one: most names are found in the topmost.
const held = 4

// hold keeps the directories open that names are looked up in, until the function
// that it returns is called.
func (n *node) hold() (release func()) {
	var dirs [1 + held]*fswalk.Dir
	open := dirs[:0]
	if n.new.upper != nil && n.new.upper.Hold() {
		open = append(open, n.new.upper)
	}
	for _, p := range n.old[:min(held, len(n.old))] {
		if p.dir.Hold() {
			open = append(open, p.dir)
		}
	}
	return func() {
		for _, d := range open {
			d.Release()
		}
	}
}

// lookup returns one that has looked up nothing, to be put back into lookups.
func (w *walk) lookup() *lookup {
	l, _ := w.lookups.Get().(*lookup)
	if l == nil {
		l = &lookup{resolver: &w.resolver}
	}
	return l
}

// names returns the names at which the views can differ, in order. If both
// take the same directories of the lower layers, only what the upper names can,
// unless all are asked for.
func (l *resolver) names(ctx context.Context, n *node, all bool) ([]name, error) {
	lists := make([][]sys.Dirent, 1) // the upper directory's, if there is one
	var err error
	if n.new.upper != nil {
		if lists[0], err = l.list(ctx, part{dir: n.new.upper}); err != nil {
			return nil, err
		}
	}
	if !all && sameParts(n.old, n.new.lowers) {
		return union(lists), nil
	}
	lowers := slices.Clone(n.old)
	for _, p := range n.new.lowers {
		if !slices.ContainsFunc(n.old, p.same) {
			lowers = append(lowers, p)
		}
	}
	for _, p := range lowers {
		list, err := l.list(ctx, p)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return union(lists), nil
}

// list lists a directory of a layer: the names in it, and those that it deletes. One of a
// layer that is an overlay itself may refuse.
func (l *resolver) list(ctx context.Context, p part) ([]sys.Dirent, error) {
	list, err := p.dir.List(ctx)
	if l.layers[p.layer].overlay {
		list, err = inode.List(ctx, p.dir)
		err = inode.Refusal(err)
	}
	if err != nil || !l.marks.Fuse {
		return list, err
	}
	return fuseNames(list), nil
}

// found is what there is to say about a name.
type found struct {
	change  diff.Change
	carried *inode.Carried
	child   *node
}

// visit compares one name.
func (w *walk) visit(ctx context.Context, n *node, nm name, l *lookup, out *items) error {
	path := diff.Join(n.path, nm.name)
	var a inode.Attempt
	var f found
	var err error
	for again := true; again; again = a.Again(err) {
		l.reset()
		f, err = w.compare(ctx, n, nm, path, l)
	}
	if err = inode.Report(out, path, a.Raced, &f.change, f.carried, f.child, err); err != nil {
		return fmt.Errorf("resolve %s: %w", diff.QuotePath(path), err)
	}
	return nil
}

func (w *walk) compare(ctx context.Context, n *node, nm name, path string, l *lookup) (f found, err error) {
	from, to, err := l.resolveBoth(n, nm)
	if err != nil {
		return f, err
	}
	if err := l.old(from); err != nil {
		return f, err
	}
	f.change, err = inode.Classify(path, from.ref(), to.ref(), func() (diff.What, error) {
		return w.differ(ctx, l, from, to)
	})
	if err != nil {
		return f, err
	}
	if to != nil && to.meta.IsDir() {
		f.child = &node{at: n.at.Child(nm.name), new: to.dirs, shown: n.shown.and(to), hides: n.hides}
		if from != nil && from.meta.IsDir() {
			f.child.old = from.dirs.lowers
		}
		if f.child.new.upper == nil && sameParts(f.child.old, f.child.new.lowers) && !w.everywhere(f.child.new.lowers) {
			f.child = nil // one and the same below, too
		}
	}
	switch {
	case w.want != nil:
		w.carry(n, place{parent: n.view(nm), name: nm.name}, from, to, &f)
	case w.waste != nil:
		w.waste.note(n, nm.name, path, from, to, &f)
	}
	return f, nil
}

// view returns what the new view consists of at a name's directory.
func (n *node) view(nm name) merged {
	if nm.inUpper {
		return n.new
	}
	return merged{lowers: n.new.lowers}
}

// resolveBoth looks one name up in both views.
func (l *lookup) resolveBoth(n *node, nm name) (from, to *object, err error) {
	if to, err = l.resolve(n.view(nm), nm.name, !n.gone); err != nil {
		return nil, nil, err
	}
	if n.shown.has(to) {
		return nil, nil, markError(to.meta, l.marks.Redirect, "the lower directory to which it leads is a directory above it already", syscall.ESTALE)
	}
	from, err = l.resolve(merged{lowers: n.old}, nm.name, false)
	return from, to, err
}

// differ returns in what two objects differ.
func (w *walk) differ(ctx context.Context, l *lookup, from, to *object) (diff.What, error) {
	if from.meta.Equal(to.meta) && from.sameContent(to) {
		return 0, nil
	}
	return w.comparison(ctx, l, from, to).compare()
}

func (w *walk) comparison(ctx context.Context, l *lookup, from, to *object) comparison {
	return comparison{Pair: inode.Pair{
		Ctx: ctx, Old: from.meta, New: to.meta, Visible: w.visible, Content: w.opts.Content, Kinds: w.opts.Kinds,
	}, lookup: l, from: from, to: to}
}

var _ diff.Carrier = (*Engine)(nil)
