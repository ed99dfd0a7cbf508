package survey

import (
	"context"
	"errors"
	"iter"
	"math"
	"strings"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Options of [Build].
type Options struct {
	// Waste asks for waste, too.
	Waste bool
	// Found is called with the number of changes now and then; nil: it is not.
	Found func(changes int)
}

// Build reads a diff. How much of [diff.Change.What] and which waste is found
// depends on the options that it was opened with: without contents it is fast.
func Build(ctx context.Context, d *overlaydiff.Diff, opts Options) (*Tree, error) {
	raced := d.Raced()
	var waste []diff.Waste
	var noWaste error
	if opts.Waste {
		for w, err := range d.Waste(ctx) {
			if errors.Is(err, diff.ErrUnsupported) {
				noWaste = err
				break
			}
			if err != nil {
				return nil, err
			}
			waste = append(waste, w)
		}
	}
	unreadable := d.Unreadable() // here, since waste passes the same paths
	t, err := build(counted(d.Changes(ctx), opts.Found), waste)
	if err != nil {
		return nil, err
	}
	t.Raced, t.NoWaste, t.Unreadable = d.Raced()-raced, noWaste, d.Unreadable()-unreadable
	return t, nil
}

// counted tells found how many changes there were.
func counted(changes iter.Seq2[diff.Change, error], found func(int)) iter.Seq2[diff.Change, error] {
	if found == nil {
		return changes
	}
	return func(yield func(diff.Change, error) bool) {
		n := 0
		for c, err := range changes {
			if n++; n%1024 == 0 {
				found(n)
			}
			if !yield(c, err) {
				return
			}
		}
		found(n)
	}
}

// ErrTooMany says that a tree has more nodes than can be numbered.
var ErrTooMany = errors.New("there are more than 2,147,483,646 changed paths: look at a part of them")

// build merges changes with waste, both in path order.
func build(changes iter.Seq2[diff.Change, error], waste []diff.Waste) (*Tree, error) {
	b := &builder{t: &Tree{nodes: []Node{{Name: "/", Parent: -1, Type: diff.Dir}}}, open: []int32{0}, linked: map[diff.Inode]struct{}{}}
	before := func(path string) error { // adds waste that is no change
		for len(waste) > 0 && diff.ComparePaths(waste[0].Path, path) < 0 {
			if err := b.waste(waste[0]); err != nil {
				return err
			}
			waste = waste[1:]
		}
		return nil
	}
	for c, err := range changes {
		if err == nil {
			err = before(c.Path)
		}
		if err == nil {
			err = b.change(c)
		}
		if err != nil {
			return nil, err
		}
		if len(waste) > 0 && waste[0].Path == c.Path {
			if err := b.waste(waste[0]); err != nil {
				return nil, err
			}
			waste = waste[1:]
		}
	}
	for _, w := range waste {
		if err := b.waste(w); err != nil {
			return nil, err
		}
	}
	for len(b.open) > 0 {
		b.leave()
	}
	return b.t, nil
}

type builder struct {
	t      *Tree
	open   []int32 // from the root to the node that was added last
	linked map[diff.Inode]struct{}
	names  strings.Builder // the block that names are kept in
}

// enter returns the node at path, which is not before the last one.
func (b *builder) enter(path string) (*Node, error) {
	shared := 0 // components of the path that are open already
	rest := path[1:]
	for shared+1 < len(b.open) {
		name := b.t.nodes[b.open[shared+1]].Name
		if !strings.HasPrefix(rest, name) || len(rest) > len(name) && rest[len(name)] != '/' {
			break
		}
		rest = strings.TrimPrefix(rest[len(name):], "/")
		shared++
	}
	for len(b.open) > shared+1 {
		b.leave()
	}
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if len(b.t.nodes) == math.MaxInt32 {
			return nil, ErrTooMany
		}
		b.t.nodes = append(b.t.nodes, Node{Name: b.keep(name), Parent: b.open[len(b.open)-1], Type: diff.Dir})
		b.open = append(b.open, int32(len(b.t.nodes)-1)) //nolint:gosec // compared above
	}
	return &b.t.nodes[b.open[len(b.open)-1]], nil
}

// leave closes the node that is open last, and adds its sum to its parent's.
func (b *builder) leave() {
	last := len(b.open) - 1
	n := &b.t.nodes[b.open[last]]
	n.end = int32(len(b.t.nodes)) //nolint:gosec // compared in enter
	if n.Parent >= 0 {
		b.t.nodes[n.Parent].Sum.add(&n.Sum)
	}
	b.open = b.open[:last]
}

// keep copies a name, so that it does not keep its path in memory.
func (b *builder) keep(name string) string {
	if b.names.Cap()-b.names.Len() < len(name) {
		b.names = strings.Builder{}
		b.names.Grow(64 << 10)
	}
	start := b.names.Len()
	b.names.WriteString(name)
	return b.names.String()[start:]
}

func (b *builder) change(c diff.Change) error {
	n, err := b.enter(c.Path)
	if err != nil {
		return err
	}
	n.Kind, n.Type, n.What = c.Kind, c.Entry.Type, c.What
	switch c.Kind {
	case diff.Add:
		n.Sum.Added++
	case diff.Modify:
		n.Sum.Modified++
	case diff.Delete:
		n.Sum.Deleted++
		return nil
	}
	if c.Entry.Type != diff.Dir && !b.again(&c.Entry) {
		n.Sum.Bytes += c.Entry.Size
	}
	return nil
}

// again reports whether the entry is a further name of an inode, as [diff.Size] does.
func (b *builder) again(e *diff.Entry) bool {
	if e.Nlinks <= 1 && e.Type == diff.File {
		return false
	}
	_, met := b.linked[e.Inode]
	b.linked[e.Inode] = struct{}{}
	return met
}

func (b *builder) waste(w diff.Waste) error {
	n, err := b.enter(w.Path)
	if err != nil {
		return err
	}
	n.Waste = w.Kind
	if w.Kind == diff.Deleted {
		n.Sum.Kept += w.Bytes
		return nil
	}
	if n.Kind == 0 {
		n.Type = diff.File
	}
	n.Sum.CopyUps += w.Bytes
	return nil
}
