package views

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// Visitor returns what a walk yields of a visited name; false: nothing. It is called from
// several goroutines at once, for different names.
type Visitor[D, V any] func(v *Visit[D]) (V, bool)

// Walk compares views and yields, in path order, what visit returns. Races and unreadable
// paths go to the options. An error is the last element. Views are opened anew each time
// the sequence is ranged over.
func Walk[D any, N fmt.Stringer, V any](ctx context.Context, q Question, open Open[D, N], visit Visitor[D, V]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		pool := fswalk.NewPool(0)
		defer pool.Close()
		run(ctx, pool, q, open, visit)(yield)
	}
}

// run is [Walk] with a pool.
func run[D any, N fmt.Stringer, V any](ctx context.Context, pool *fswalk.Pool, q Question, open Open[D, N], visit Visitor[D, V]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		views, err := open(ctx, pool, q)
		if err != nil {
			var none V
			yield(none, err)
			return
		}
		w := &walk[D, N, V]{Question: q, views: views, visit: visit}
		settled(q.Options, fswalk.Ordered(ctx, q.Workers, node[D, N]{dir: views.Root()}, w.expand))(yield)
	}
}

// found is what a walk finds: a value or a trouble.
type found[V any] struct {
	value   V
	trouble *trouble
}

// trouble is a path that vanished while it was read or, if unreadable is set, can't be
// read.
type trouble struct {
	path       string
	unreadable *diff.UnreadableError
}

// settled yields the values. The troubles go to opts, which may make an error of one.
func settled[V any](opts diff.Options, all iter.Seq2[found[V], error]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for f, err := range all {
			if err == nil && f.trouble != nil {
				if err = f.trouble.settle(opts); err == nil {
					continue
				}
			}
			if !yield(f.value, err) || err != nil {
				return
			}
		}
	}
}

func (t *trouble) settle(opts diff.Options) error {
	switch {
	case t.unreadable != nil && opts.OnUnreadable != nil:
		return opts.OnUnreadable(t.unreadable)
	case t.unreadable != nil:
		return t.unreadable
	case opts.OnRace != nil:
		return opts.OnRace(t.path)
	}
	return nil
}

// walk is one walk.
type walk[D any, N fmt.Stringer, V any] struct {
	Question
	views Views[D, N]
	visit Visitor[D, V]
	spare sync.Pool // of *expansion
}

// node is a directory of the views that is to be walked.
type node[D, N any] struct {
	at    *Path
	dir   D
	hides bool // see [Visit]
	added bool // the old view has no such directory, so that each name is a change
	// some names of the directory, which this node is about; nil: all that it has.
	some []N
}

// expansion is the work on one node.
type expansion[D any, N fmt.Stringer, V any] struct {
	*walk[D, N, V]
	node   node[D, N]
	out    *fswalk.Items[node[D, N], found[V]]
	path   string // of the node
	lookup Lookup[D, N]
	absent []string // names that were listed, but not found
	Visit[D]
}

// begin returns an expansion of n. Its memory is used again: there is one for each
// directory.
func (w *walk[D, N, V]) begin(ctx context.Context, n node[D, N], out *fswalk.Items[node[D, N], found[V]]) *expansion[D, N, V] {
	x, _ := w.spare.Get().(*expansion[D, N, V])
	if x == nil {
		x = &expansion[D, N, V]{}
	}
	x.walk, x.node, x.out, x.path = w, n, out, n.at.String()
	x.Ctx, x.Content, x.Kinds, x.dir = ctx, w.Content, w.Kinds, x.path
	return x
}

func (w *walk[D, N, V]) end(x *expansion[D, N, V]) {
	*x = expansion[D, N, V]{}
	w.spare.Put(x)
}

// expand compares what the two views have in one directory.
func (w *walk[D, N, V]) expand(ctx context.Context, n node[D, N], out *fswalk.Items[node[D, N], found[V]]) error {
	x := w.begin(ctx, n, out)
	defer w.end(x)
	names, err := n.some, error(nil)
	if names == nil {
		names, err = w.views.Names(ctx, &x.node.dir)
	}
	switch {
	case inode.Vanished(err) && x.path != "/":
		x.race(x.path)
		return nil
	case err != nil:
		return x.fail(x.path, err)
	case len(names) > fswalk.Share:
		for part := range slices.Chunk(names, fswalk.Share) {
			n.some = part
			out.Child(n)
		}
		return nil
	case n.added:
		out.Grow(len(names))
	}
	x.lookup = w.views.Enter(&x.node.dir)
	defer x.lookup.Leave()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.one(name); err != nil {
			return err
		}
	}
	return x.reportAbsent(ctx)
}

// one compares one name, and adds what there is to say about it to the result.
func (x *expansion[D, N, V]) one(name N) error {
	raced, err := Retry(func() error {
		if err := lookup(x.lookup, name, &x.Visit); err != nil {
			return err
		}
		return x.compare()
	})
	if err != nil && !inode.Vanished(err) {
		if err = x.fail(x.Path(), err); err != nil {
			return fmt.Errorf("compare %s: %w", diff.QuotePath(x.Path()), err)
		}
		return nil
	}
	if raced {
		x.race(x.Path())
	}
	if err != nil {
		return nil
	}
	if x.Absent {
		x.absent = append(x.absent, x.name)
	}
	x.Hides = x.node.hides
	if value, ok := x.visit(&x.Visit); ok {
		x.out.Weigh((len(x.path) + len(x.name)) / longPath)
		x.out.Value(found[V]{value: value})
	}
	if x.Below {
		x.out.Child(node[D, N]{
			at: x.node.at.Child(x.name), dir: x.Child, hides: x.Hides,
			added: !x.Listed && (x.Old == nil || !x.Old.IsDir()),
		})
	}
	return nil
}

// longPath is how long a path may be without counting for more than the rest of what
// is found.
const longPath = 256

// race adds that path vanished while it was read.
func (x *expansion[D, N, V]) race(path string) {
	x.out.Value(found[V]{trouble: &trouble{path: path}})
}

// fail adds that path can't be read, if err is the fault of this path alone; else it
// returns err. Without the root there is nothing to go on with.
func (x *expansion[D, N, V]) fail(path string, err error) error {
	if !inode.Unreadable(err) || path == "/" {
		return err
	}
	x.out.Value(found[V]{trouble: &trouble{path, &diff.UnreadableError{Path: path, Err: err}}})
	return nil
}

// reportAbsent tells names that vanished from those that overlayfs lists but
// has not: it passes the listing of a directory that only one layer has through
// as it is, whiteouts included.
func (x *expansion[D, N, V]) reportAbsent(ctx context.Context) error {
	if len(x.absent) == 0 {
		return nil
	}
	names, err := x.views.Names(ctx, &x.node.dir)
	if err != nil && !inode.Vanished(err) {
		return err
	}
	listed := map[string]bool{}
	for _, name := range names {
		listed[name.String()] = true
	}
	for _, name := range x.absent {
		if !listed[name] {
			x.race(diff.Join(x.path, name))
		}
	}
	return nil
}
