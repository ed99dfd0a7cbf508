package native

import (
	"context"
	"fmt"
	"iter"

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
	resolver
	pool *fswalk.Pool
}

// Open opens the layers of a stack. Directories that are mounted inside a layer
// are not part of it, as for the kernel.
//
// Errors: those of opening a layer, or one that matches [diff.ErrUnsupported].
func Open(ctx context.Context, s diff.Stack) (*Engine, error) {
	if err := supported(s); err != nil {
		return nil, err
	}
	e := &Engine{pool: fswalk.NewPool(0)}
	e.marks, e.features = whiteout.NamespaceOf(s.Features), s.Features
	err := e.openLayers(ctx, s)
	if err == nil {
		err = refuseCasefold(e.layers)
	}
	if err != nil {
		e.pool.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) openLayers(ctx context.Context, s diff.Stack) error {
	for i, path := range append([]string{s.Upper}, s.Lower...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind := "lower"
		if i == 0 {
			kind = "upper"
		}
		fd, private, err := mountutil.CloneTree(path)
		if err != nil {
			return fmt.Errorf("open %s directory: %w", kind, err)
		}
		root := e.pool.Root(fd, path)
		e.layers = append(e.layers, layer{root: root, private: private})
		if i > 0 {
			e.lowers = append(e.lowers, part{layer: i, dir: root})
		}
	}
	return nil
}

// Name returns "native".
func (*Engine) Name() string { return "native" }

// Close closes the layers.
func (e *Engine) Close() error {
	e.pool.Close()
	return nil
}

// Changes implements [diff.Engine].
func (e *Engine) Changes(ctx context.Context, opts diff.Options) iter.Seq2[diff.Change, error] {
	root := node{path: "/", old: e.lowers, new: merged{upper: e.layers[0].root, lowers: e.lowers}}
	return inode.Changes(fswalk.Ordered(ctx, opts.Workers, root, e.expand), opts)
}

// node is a directory of the new view, with what the old view has at that path.
type node struct {
	path string
	old  []part
	new  merged
}

type items = fswalk.Items[node, inode.Found]

// expand compares what the two views have in one directory.
func (e *Engine) expand(ctx context.Context, n node, out *items) error {
	names, err := n.names()
	if err != nil {
		if inode.Vanished(err) && n.path != "/" {
			out.Value(raced(n.path))
			return nil
		}
		return err
	}
	for i := range names {
		if err := e.visit(ctx, n, names[i], out); err != nil {
			return err
		}
	}
	return nil
}

// names returns the names at which the views can differ, in order. If both
// take the same directories of the lower layers, only what the upper names can.
func (n *node) names() ([]name, error) {
	var lists [][]sys.Dirent
	add := func(d *fswalk.Dir) error {
		list, err := d.List()
		lists = append(lists, list)
		return err
	}
	lists = append(lists, nil)
	if n.new.upper != nil {
		lists = lists[:0]
		if err := add(n.new.upper); err != nil {
			return nil, err
		}
	}
	if !sameParts(n.old, n.new.lowers) {
		for _, parts := range [][]part{n.old, n.new.lowers} {
			for _, p := range parts {
				if err := add(p.dir); err != nil {
					return nil, err
				}
			}
		}
	}
	return union(lists), nil
}

// visit compares one name.
func (e *Engine) visit(ctx context.Context, n node, nm name, out *items) error {
	path := diff.Join(n.path, nm.name)
	var change diff.Change
	var child *node
	settled, race, err := inode.Settle(func() (err error) {
		change, child, err = e.compare(ctx, n, nm, path)
		return err
	})
	if err != nil {
		return fmt.Errorf("resolve %s: %w", diff.QuotePath(path), err)
	}
	if race {
		out.Value(raced(path))
	}
	if !settled {
		return nil
	}
	if change.Kind != 0 {
		out.Value(inode.Found{Change: change})
	}
	if child != nil {
		out.Child(*child)
	}
	return nil
}

func (e *Engine) compare(ctx context.Context, n node, nm name, path string) (change diff.Change, child *node, err error) {
	l := lookup{resolver: &e.resolver}
	upper := n.new.upper
	if !nm.inUpper {
		upper = nil
	}
	to, err := l.resolve(merged{upper: upper, lowers: n.new.lowers}, nm.name)
	if err != nil {
		return change, nil, err
	}
	from, err := l.resolve(merged{lowers: n.old}, nm.name)
	if err != nil {
		return change, nil, err
	}
	change, err = inode.Classify(path, from.ref(), to.ref(), func() (diff.What, error) {
		if from.meta.Same(to.meta) && from.data.Same(to.data) {
			return 0, nil
		}
		return inode.Pair{
			Ctx: ctx, Old: from.meta, New: to.meta, OldData: from.data, NewData: to.data,
			Visible: e.marks.Visible,
		}.Compare()
	})
	if err == nil && to != nil && to.meta.IsDir() {
		child = &node{path: path, new: to.dirs}
		if from != nil && from.meta.IsDir() {
			child.old = from.dirs.lowers
		}
		if child.new.upper == nil && sameParts(child.old, child.new.lowers) {
			child = nil // one and the same below, too
		}
	}
	return change, child, err
}

func raced(path string) inode.Found {
	return inode.Found{Raced: true, Change: diff.Change{Path: path}}
}

var _ diff.Engine = (*Engine)(nil)
