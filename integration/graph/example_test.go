package graph_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"path/filepath"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// store is what a graph driver has without overlaydiff: it knows where its layers are,
// and mounts them.
type store struct {
	home    string
	parents map[string]string
	options mountutil.Options // of its mounts, without directories
	get     func(id string) (dir string, err error)
	put     func(id string) error
}

// What is asked for both layers is said once:

func (s *store) Stack(id string) (diff.Stack, error) {
	o := s.options
	o.Upper, o.Work = filepath.Join(s.home, id, "diff"), filepath.Join(s.home, id, "work")
	for p := s.parents[id]; p != ""; p = s.parents[p] {
		o.Lower = append(o.Lower, filepath.Join(s.home, p, "diff"))
	}
	return o.Stack(mountutil.KernelDefaults()), nil
}

func (s *store) Mount(id string) (string, func() error, error) {
	dir, err := s.get(id)
	return dir, func() error { return s.put(id) }, err
}

// That takes the place of doesSupportNativeDiff, of the naive driver, and of what
// chooses between the two:

func (s *store) open(ctx context.Context, id, parent string) (*graph.Diff, error) {
	return graph.Open(ctx, s, id, parent, overlaydiff.Options{Kinds: true})
}

func (s *store) Diff(ctx context.Context, id, parent string) (io.ReadCloser, error) {
	d, err := s.open(ctx, id, parent)
	if err != nil {
		return nil, err
	}
	return d.Layer(ctx, layer.ExportOptions{NoDigests: true}), nil
}

func (s *store) DiffSize(ctx context.Context, id, parent string) (int64, error) {
	d, err := s.open(ctx, id, parent)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return d.Size(ctx)
}

func (s *store) Changes(ctx context.Context, id, parent string, visit func(diff.Change)) error {
	d, err := s.open(ctx, id, parent)
	if err != nil {
		return err
	}
	defer d.Close()
	for change, err := range diff.WithParents(d.Changes(ctx)) {
		if err != nil {
			return err
		}
		visit(change)
	}
	return nil
}

func (s *store) ApplyDiff(ctx context.Context, id string, archive io.Reader) (int64, error) {
	stack, err := s.Stack(id)
	if err != nil {
		return 0, err
	}
	return graph.Apply(ctx, stack, archive, layer.ApplyOptions{NoDigests: true})
}

// A graph driver's diffs, whole.
func Example() {
	ctx := context.Background()
	s := &store{home: "/var/lib/driver", parents: map[string]string{"container": "image"}, options: mountutil.Options{Index: "off"}}
	err := s.Changes(ctx, "container", "image", func(c diff.Change) { fmt.Printf("%c %s\n", c.Kind.Letter(), c.Path) })
	if err != nil {
		log.Print(err)
	}
}
